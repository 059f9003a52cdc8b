// An ordinary server that knows nothing of clusters but how to say where it listens.
'use strict';
const http = require('http');
const server = http.createServer((request, response) => {
  response.end(`${process.pid} ${request.url}`);
});
server.listen(0, '127.0.0.1', () => process.send(server.address()));
