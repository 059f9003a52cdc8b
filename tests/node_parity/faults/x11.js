'use strict';
// The primary gets SIGTERM: whoever waits for an answer gets none.
const cluster = require('cluster');
const net = require('net');
const { spawn } = require('child_process');
const { client, finish, listening, once } = require('./common');

async function main() {
  const primary = spawn(process.execPath, [__filename, 'primary'], { stdio: ['ignore', 'pipe', 2] });
  const port = Number(await once(primary.stdout, 'data'));
  const one = client(port);
  one.socket.write('question');
  await once(primary.stdout, 'data'); // it has been read
  primary.kill('SIGTERM');
  await once(one.socket, 'close');
  finish({ data: one.data });
}

if (cluster.isWorker) {
  net.createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', () => {
      process.send('read');
      setTimeout(() => socket.end('answer'), 300);
    });
  }).listen(0, '127.0.0.1');
} else if (process.argv[2] === 'primary') {
  listening().then(({ worker, port }) => {
    worker.on('message', (text) => console.log(text));
    console.log(port);
  });
} else {
  main();
}
