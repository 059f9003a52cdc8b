// Closes its server and listens again.
'use strict';
const net = require('net');
function listen(name) {
  const server = net.createServer((socket) => {
    socket.end(name);
    server.close(() => listen('again'));
  });
  server.listen(0, '127.0.0.1', () => process.send({ name, ...server.address() }));
}
listen('once');
