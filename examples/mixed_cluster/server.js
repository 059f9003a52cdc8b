// An ordinary HTTP server; `node server.js 8000` runs it alone. It knows nothing of clusters.
const fs = require('node:fs');
const http = require('node:http');

const log = process.env.ACCESS_LOG ? fs.openSync(process.env.ACCESS_LOG, 'a') : null;

const server = http.createServer((request, response) => {
  if (log !== null) fs.writeSync(log, `${request.url}\n`);
  response.setHeader('Connection', 'close');
  response.end(`hello from node, process ${process.pid}\n`);
});
if (process.env.MAX_CONNECTIONS) server.maxConnections = Number(process.env.MAX_CONNECTIONS);
server.listen(Number(process.argv[2] ?? 8000), '127.0.0.1');
