'use strict';
const https = require('https');
const fs = require('fs');
const options = { key: fs.readFileSync(process.env.KEY), cert: fs.readFileSync(process.env.CERT) };
const server = https.createServer(options, (request, response) => {
  response.end(JSON.stringify({ pid: process.pid, reused: request.socket.isSessionReused() }));
});
server.listen(0, '127.0.0.1', () => process.send(server.address()));
