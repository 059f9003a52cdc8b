// Leaves by itself when it is told to, after it has answered who is connected.
'use strict';
const cluster = require('cluster');
const net = require('net');
const server = net.createServer((socket) => {
  socket.write('hello ');
  socket.on('data', (data) => socket.end(data));
});
server.listen(0, '127.0.0.1', () => process.send(server.address()));
process.on('message', (how) => cluster.worker[how]());
