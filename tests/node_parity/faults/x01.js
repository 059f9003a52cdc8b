'use strict';
// A worker is killed with a connection on its way: the client is neither served nor closed, although
// another worker is free.
const cluster = require('cluster');
const { client, finish, listening, serve, sleep } = require('./common');

async function main() {
  const { worker, port } = await listening();
  await listening();
  process.kill(worker.process.pid, 'SIGSTOP');
  const clients = Array.from({ length: 2 }, () => client(port));
  await Promise.all(clients.map((one) => one.connected));
  await sleep(200);
  process.kill(worker.process.pid, 'SIGKILL');
  await sleep(500);
  const hung = clients.filter((one) => !one.data && !one.ended).length;
  finish({ served: clients.filter((one) => one.data).length, hung });
}

if (cluster.isPrimary) main(); else serve();
