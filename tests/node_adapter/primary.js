// A primary of Node's own that does what it is told, line by line, and tells what happens.
'use strict';
const cluster = require('cluster');
const net = require('net');
const readline = require('readline');

cluster.schedulingPolicy = process.argv[2] === 'none' ? cluster.SCHED_NONE : cluster.SCHED_RR;
const say = (event) => process.stdout.write(JSON.stringify(event) + '\n');

const execPath = process.execPath;

function fork({ program, env, python, args }) {
  process.execPath = python ?? execPath;
  const execArgv = python ? ['-m', 'actorcluster.adapters.node_worker'] : [];
  cluster.setupPrimary({ exec: program, args: args ?? [], execArgv });
  const worker = cluster.fork(env);
  const tell = (event, more) => say({ worker: worker.id, event, ...more });
  tell('fork', { pid: worker.process.pid });
  worker.on('online', () => tell('online'));
  worker.on('listening', () => tell('listening'));
  worker.on('message', (body, handle) => {
    tell('message', { body, handle: Boolean(handle) });
    if (handle) handle.end('from the primary\n');
  });
  worker.on('exit', (code, signal) => {
    tell('exit', { code, signal, voluntary: worker.exitedAfterDisconnect });
  });
}

const acts = {
  fork,
  tell: ({ worker, body }) => cluster.workers[worker].send(body),
  give: ({ worker, body, port }) => {
    const socket = net.connect({ port, host: '127.0.0.1' }, () => {
      cluster.workers[worker].send(body, socket);
    });
  },
  disconnect: ({ worker }) => cluster.workers[worker].disconnect(),
  kill: ({ worker, signal }) => cluster.workers[worker].process.kill(signal),
};

readline.createInterface({ input: process.stdin })
  .on('line', (line) => {
    const told = JSON.parse(line);
    acts[told.act](told);
  })
  .on('close', () => {
    for (const worker of Object.values(cluster.workers)) worker.process.kill('SIGKILL');
  });
