const cluster = require('node:cluster');
const net = require('node:net');

if (cluster.isPrimary) {
  const tell = (event) => (worker) => console.log(`${event} ${worker.id}`);
  for (const event of ['fork', 'online', 'listening', 'exit']) cluster.on(event, tell(event));
  cluster.on('listening', (worker) => worker.process.kill('SIGTERM'));
  cluster.fork();
} else {
  net.createServer().listen(0, '127.0.0.1');
}
