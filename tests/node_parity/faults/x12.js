'use strict';
// What everybody writes, a fork for every exit, goes on for ever with a worker that crashes.
const cluster = require('cluster');
const { finish } = require('./common');

if (cluster.isPrimary) {
  let crashes = 0;
  cluster.on('exit', () => {
    if (++crashes === 8) finish({ crashes, stopped: false });
    cluster.fork();
  });
  cluster.fork();
} else {
  process.exit(1);
}
