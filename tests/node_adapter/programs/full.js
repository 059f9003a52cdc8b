// Declines what is too much.
'use strict';
const net = require('net');
const server = net.createServer((socket) => socket.write(`${process.pid}`));
server.maxConnections = +process.env.MOST;
server.listen(0, '127.0.0.1', () => process.send(server.address()));
