'use strict';
// A message behind a handle is not even written before the receiver has answered for the handle.
const cluster = require('cluster');
const net = require('net');
const { finish, listening, once, serve, sleep } = require('./common');

async function main() {
  const { worker } = await listening();
  process.kill(worker.process.pid, 'SIGSTOP');
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const written = [];
  for (let i = 0; i < 2; i++) {
    const socket = net.connect(server.address().port, '127.0.0.1');
    await once(socket, 'connect');
    worker.send(`with a handle ${i}`, socket, () => written.push(`handle ${i}`));
    worker.send(`message ${i}`, () => written.push(`message ${i}`));
  }
  await sleep(300);
  finish({ written });
}

if (cluster.isPrimary) main(); else serve();
