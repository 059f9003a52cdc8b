'use strict';
const net = require('net');
const server = net.createServer((socket) => socket.pipe(socket));
server.listen(process.env.SOCKET, () => process.send({ address: server.address() }));
