const cluster = require('node:cluster');

if (cluster.isPrimary) {
  const worker = cluster.fork();
  const waiting = new Map(); // a worker that dies leaves them waiting
  let last = 0;
  worker.on('message', ({ id, root }) => {
    waiting.get(id)(root);
    waiting.delete(id);
  });
  const ask = (square) =>
    new Promise((resolve) => {
      waiting.set(++last, resolve);
      worker.send({ id: last, square });
    });
  (async () => {
    console.log(`root of 49: ${await ask(49)}`);
    console.log(`root of 64: ${await ask(64)}`);
    worker.disconnect();
  })();
} else {
  process.on('message', ({ id, square }) => process.send({ id, root: Math.sqrt(square) }));
}
