'use strict';
// A worker that was told to leave listens once more: it never hears of it again.
const cluster = require('cluster');
const net = require('net');
const { client, finish, listening, serve, sleep } = require('./common');

async function main() {
  const { worker, port } = await listening();
  await client(port).connected; // so long the worker stays
  await sleep(100);
  let heard = 'nothing';
  worker.on('message', (message) => {
    if (message !== 'asked') heard = message;
    else sleep(500).then(() => finish({ heard }));
  });
  worker.send('listen once more, when you have been told to leave');
  worker.disconnect();
}

if (cluster.isPrimary) {
  main();
} else {
  serve(false);
  process.on('message', () => setTimeout(() => {
    const server = net.createServer();
    server.on('listening', () => process.send('listening'));
    server.on('error', () => process.send('error'));
    server.listen(0, '127.0.0.1');
    process.send('asked');
  }, 200));
}
