'use strict';
// A connection is passed on after its first bytes were read: the worker gets only the rest.
const cluster = require('cluster');
const net = require('net');
const { client, finish, listening, once, serve } = require('./common');

async function main() {
  const { worker } = await listening();
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const one = client(server.address().port);
  const socket = await once(server, 'connection');
  one.socket.write('EARLY ');
  await once(socket, 'data');
  worker.send('yours', socket);
  await once(worker, 'message');
  one.socket.write('LATE');
  finish({ read: await once(worker, 'message') });
}

if (cluster.isPrimary) {
  main();
} else {
  serve();
  process.on('message', (_, socket) => {
    process.send('have it');
    socket.on('data', (data) => process.send(`${data}`));
  });
}
