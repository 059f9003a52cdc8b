'use strict';
const net = require('net');
const server = net.createServer(() => {
  throw new Error('on purpose');
});
server.listen(0, '127.0.0.1', () => process.send(server.address()));
