const cluster = require('node:cluster');

if (cluster.isPrimary) {
  cluster.on('exit', (worker, code, signal) => {
    console.log(`worker ${worker.id} ended: ${signal ?? code}`);
    if (worker.id < 3) cluster.fork();
  });
  cluster.fork();
} else if (cluster.worker.id === 2) {
  process.kill(process.pid, 'SIGKILL');
} else {
  process.exit(cluster.worker.id);
}
