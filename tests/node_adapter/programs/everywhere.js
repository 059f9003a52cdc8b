// Without a host: all addresses.
'use strict';
const net = require('net');
const server = net.createServer((socket) => socket.end('here'));
server.listen(0, () => process.send(server.address()));
