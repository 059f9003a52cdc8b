// The first port 0 of each worker is one port, the second another one.
'use strict';
const net = require('net');
const ports = [];
for (const name of ['first', 'second']) {
  const server = net.createServer((socket) => socket.end(name));
  server.listen(0, '127.0.0.1', () => {
    ports.push([name, server.address().port]);
    if (ports.length === 2) process.send(Object.fromEntries(ports));
  });
}
