'use strict';
const net = require('net');
const server = net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
server.listen({ port: 0, host: '127.0.0.1', backlog: 17 }, () => process.send(server.address()));
