// node first.js PORT
const cluster = require('node:cluster');
const net = require('node:net');

if (cluster.isPrimary) {
  cluster.on('listening', (worker) => {
    console.log(`worker ${worker.id} is listening`);
    if (worker.id < 2) cluster.fork();
  });
  cluster.fork();
} else {
  const server = net.createServer((socket) => {
    socket.end(`hello from worker ${cluster.worker.id}\n`);
  });
  server.listen(Number(process.argv[2]), '127.0.0.1');
}
