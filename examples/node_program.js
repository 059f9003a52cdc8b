// An ordinary HTTP server; `node examples/node_program.js 8000` runs it alone.
const http = require('node:http');

const server = http.createServer((request, response) => {
  response.end(`hello from Node, process ${process.pid}, that was ${request.url}\n`);
});
server.listen(Number(process.argv[2] ?? 8000), '127.0.0.1');
