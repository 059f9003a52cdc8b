'use strict';
const https = require('https');
const fs = require('fs');
const options = { key: fs.readFileSync(process.env.KEY), cert: fs.readFileSync(process.env.CERT) };
const server = https.createServer(options, (request, response) => {
  response.end(JSON.stringify({ pid: process.pid, reused: request.socket.isSessionReused() }));
});
// What it would encrypt its tickets with by itself, and with what all of them do.
const tickets = [server.getTicketKeys()];
server.listen(0, '127.0.0.1', () => {
  tickets.push(server.getTicketKeys());
  const told = tickets.map((key) => key.toString('hex')).join('\n');
  fs.writeFileSync(`${process.env.KEY}.tickets-${process.pid}`, told);
  process.send(server.address());
});
