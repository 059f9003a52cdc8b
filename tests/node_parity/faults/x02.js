'use strict';
// The only worker is killed while four clients wait: three are closed, one hangs, and the port then
// refuses.
const cluster = require('cluster');
const { client, finish, listening, serve, sleep } = require('./common');

async function main() {
  const { worker, port } = await listening();
  process.kill(worker.process.pid, 'SIGSTOP');
  const clients = Array.from({ length: 4 }, () => client(port));
  await Promise.all(clients.map((one) => one.connected));
  await sleep(200);
  process.kill(worker.process.pid, 'SIGKILL');
  await sleep(500);
  const late = client(port);
  await late.connected;
  const closed = clients.filter((one) => one.ended).length;
  finish({ served: 0, closed, hung: 4 - closed, refused: late.refused });
}

if (cluster.isPrimary) main(); else serve();
