// Exits in the middle of an answer.
'use strict';
const http = require('http');
const server = http.createServer((request, response) => {
  response.writeHead(200, { 'Content-Length': '100' });
  response.write('half', () => process.exit(7));
});
server.listen(0, '127.0.0.1', () => process.send(server.address()));
