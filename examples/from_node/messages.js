const cluster = require('node:cluster');

if (cluster.isPrimary) {
  const worker = cluster.fork();
  worker.on('message', (body) => {
    console.log(`doubled: ${body.doubled}`);
    if (body.doubled === 4) worker.disconnect();
  });
  worker.send({ number: 1 });
  worker.send({ number: 2 });
} else {
  process.on('message', (body) => process.send({ doubled: 2 * body.number }));
}
