// Two workers of Node's cluster on one port; one that dies is replaced. For kill_client.py.
'use strict';

const cluster = require('cluster');
const net = require('net');
const { say, told } = require('./common');

const WORKERS = 2;

async function primary() {
  const workers = Array.from({ length: WORKERS }, () => cluster.fork());
  const [{ port }] = await Promise.all(workers.map((worker) => new Promise((resolve) => {
    worker.on('listening', resolve);
  })));
  cluster.on('exit', () => cluster.fork());
  say({ port });
  await told();
  cluster.removeAllListeners('exit');
  for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGKILL');
  process.exit();
}

function serve() {
  net.createServer((socket) => {
    socket.on('data', () => socket.end(`${process.pid}\n`));
    socket.on('error', () => {}); // the client went away
  }).listen(0, '127.0.0.1');
}

if (cluster.isPrimary) primary();
else serve();
