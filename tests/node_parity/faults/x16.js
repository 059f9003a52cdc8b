'use strict';
// A large message and then the end: it does not arrive.
const cluster = require('cluster');
const { finish } = require('./common');

if (cluster.isPrimary) {
  let arrived = false;
  const worker = cluster.fork();
  worker.on('message', () => { arrived = true; });
  worker.on('exit', () => setTimeout(() => finish({ arrived }), 100));
} else {
  process.send('x'.repeat(1 << 20));
  process.exit(0);
}
