'use strict';
// Nobody takes connections: the primary accepts far more than the backlog.
const cluster = require('cluster');
const fs = require('fs');
const net = require('net');
const { spawn } = require('child_process');
const { finish, listening, once } = require('./common');

const CLIENTS = `
  let left = 200;
  const one = () => require('net').connect(process.argv[1], '127.0.0.1', () => {
    if (--left) one(); else console.log('all');
  }).on('error', () => {});
  one();
`;

async function main() {
  const { worker, port } = await listening();
  process.kill(worker.process.pid, 'SIGSTOP');
  const before = fs.readdirSync('/proc/self/fd').length;
  const clients = spawn(process.execPath, ['-e', CLIENTS, `${port}`]);
  const timer = setTimeout(() => clients.stdout.emit('data'), 2000);
  await once(clients.stdout, 'data');
  clearTimeout(timer);
  const held = fs.readdirSync('/proc/self/fd').length - before;
  clients.kill('SIGKILL');
  finish({ backlog: 16, held });
}

if (cluster.isPrimary) main(); else net.createServer().listen({ port: 0, host: '127.0.0.1', backlog: 16 });
