// As http.js, on a port that somebody else has chosen.
'use strict';
const http = require('http');
http.createServer((request, response) => response.end(`${process.pid} ${request.url}`))
  .listen(+process.env.PORT, '127.0.0.1');
