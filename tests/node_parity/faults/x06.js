'use strict';
// A worker that is told to leave twice crashes, when the client has gone that it waits for.
const cluster = require('cluster');
const { client, finish, listening, serve, sleep } = require('./common');

async function main() {
  cluster.setupPrimary({ silent: true });
  const { worker, port } = await listening();
  const one = client(port);
  await one.connected;
  await sleep(100);
  worker.on('exit', (code) => finish({ code }));
  worker.disconnect();
  worker.disconnect();
  await sleep(100);
  one.socket.end();
}

if (cluster.isPrimary) main(); else serve(false);
