'use strict';
// What the scripts beside this one share. Each shows one thing that Node gets wrong, and prints what
// it saw as one line of JSON.
const cluster = require('cluster');
const net = require('net');
const fs = require('fs');

// Say what was seen, and be gone with all workers, whatever they are doing.
exports.finish = (facts) => {
  fs.writeSync(1, JSON.stringify(facts) + '\n');
  for (const worker of Object.values(cluster.workers || {})) {
    try { process.kill(worker.process.pid, 'SIGKILL'); } catch {}
  }
  process.exit(0);
};

exports.sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

exports.once = (emitter, name) => new Promise((resolve) => emitter.once(name, resolve));

// Fork a worker and wait until it listens; returns it and its port.
exports.listening = (env) => new Promise((resolve) => {
  const worker = cluster.fork(env);
  worker.once('listening', (address) => resolve({ worker, port: address.port }));
});

// Connect a client that notes what comes of it: its data, whether it has ended or was refused.
exports.client = (port) => {
  const facts = { data: '', ended: false, refused: false, socket: net.connect(port, '127.0.0.1') };
  facts.socket.on('data', (data) => { facts.data += data; });
  facts.socket.on('end', () => { facts.ended = true; });
  facts.socket.on('close', () => { facts.ended = true; });
  facts.socket.on('error', (error) => { facts.refused ||= error.code === 'ECONNREFUSED'; });
  facts.connected = new Promise((resolve) => {
    facts.socket.once('connect', resolve);
    facts.socket.once('error', resolve);
  });
  return facts;
};

// A worker that tells each client its number.
exports.serve = (greet = true) => {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    if (greet) socket.end(`${cluster.worker.id}`);
  });
  return server.listen(0, '127.0.0.1');
};
