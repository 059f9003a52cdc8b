'use strict';
// One worker keeps every connection open, one closes each at once: both get the same number.
const cluster = require('cluster');
const { client, finish, listening, serve, sleep } = require('./common');

async function main() {
  const { port } = await listening({ KEEPS: '1' });
  await listening();
  const clients = [];
  for (let i = 0; i < 20; i++) {
    clients.push(client(port));
    await clients[i].connected;
    await sleep(10);
  }
  await sleep(200);
  finish({ kept: clients.filter((one) => !one.ended).length, of: 20 });
}

if (cluster.isPrimary) main(); else serve(!process.env.KEEPS);
