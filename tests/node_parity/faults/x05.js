'use strict';
// A worker announces a message of 2 GiB, in the richer serialization, and exits.
const cluster = require('cluster');
const fs = require('fs');
const { finish } = require('./common');

if (cluster.isPrimary) {
  cluster.setupPrimary({ serialization: 'advanced' });
  process.on('uncaughtException', (error) => finish({ uncaught: error.name }));
  cluster.fork().on('exit', () => finish({ uncaught: null }));
} else {
  fs.writeSync(3, Buffer.from([0x80, 0, 0, 0]));
  setTimeout(() => process.exit(), 500);
}
