'use strict';
// All workers are full: the connection that waits goes to and fro as fast as it can.
const cluster = require('cluster');
const { client, finish, listening, serve, sleep } = require('./common');

async function main() {
  const { worker, port } = await listening();
  const other = (await listening()).worker;
  let declined = 0;
  for (const one of [worker, other]) {
    one.process.on('internalMessage', (message) => {
      if (message.accepted === false) declined++;
    });
  }
  for (let i = 0; i < 3; i++) {
    await client(port).connected;
    await sleep(50);
  }
  for (let i = 0; i < 300 && declined <= 100; i++) await sleep(100);
  finish({ declined });
}

if (cluster.isPrimary) main(); else serve(false).maxConnections = 1;
