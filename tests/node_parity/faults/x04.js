'use strict';
// A worker writes a line that is no message: the primary has an exception that nobody can catch
// where it belongs.
const cluster = require('cluster');
const fs = require('fs');
const { finish } = require('./common');

if (cluster.isPrimary) {
  process.on('uncaughtException', (error) => finish({ uncaught: error.name }));
  cluster.fork().on('exit', () => finish({ uncaught: null }));
} else {
  fs.writeSync(3, '{ bad\n');
  setTimeout(() => process.exit(), 1000);
}
