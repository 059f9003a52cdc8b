'use strict';
const net = require('net');
const server = net.createServer((socket) => socket.end(`${process.pid}`));
server.listen({ port: 0, host: '127.0.0.1', exclusive: true }, () => process.send(server.address()));
