'use strict';
const net = require('net');
const server = net.createServer({ pauseOnConnect: true }, (socket) => {
  process.send({ for: 'the primary' }, socket);
});
server.listen(0, '127.0.0.1', () => process.send(server.address()));
