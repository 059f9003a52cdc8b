// node hand_over.js PORT
const cluster = require('node:cluster');
const net = require('node:net');

if (cluster.isPrimary) {
  const workers = [cluster.fork(), cluster.fork()];
  let turn = 0;
  const server = net.createServer({ pauseOnConnect: true }, (socket) => {
    workers[turn++ % 2].send('a client', socket);
  });
  server.listen(Number(process.argv[2]), '127.0.0.1', () => console.log('listening'));
} else {
  process.on('message', (body, socket) => {
    socket.end(`${body} of worker ${cluster.worker.id}\n`);
  });
}
