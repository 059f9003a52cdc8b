'use strict';
// Everybody is told to leave: that is said to be done when the first has left.
const cluster = require('cluster');
const { client, finish, listening, serve, sleep } = require('./common');

async function main() {
  const { worker, port } = await listening();
  const one = client(port); // the first worker waits for it
  await one.connected;
  await sleep(100);
  const other = (await listening()).worker;
  cluster.disconnect(() => finish({
    gone: [worker, other].filter((one) => one.isDead()).length, of: 2,
  }));
}

if (cluster.isPrimary) main(); else serve(false);
