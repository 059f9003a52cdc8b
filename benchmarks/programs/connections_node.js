// Connections with Node's cluster: two workers on one port, each request on a connection of its
// own, answered by node:net.
'use strict';

const cluster = require('cluster');
const net = require('net');
const { RESPONSE, text, say, message, told } = require('./common');

const WORKERS = 2;

async function primary() {
  cluster.schedulingPolicy = text('policy', 'rr') === 'rr' ? cluster.SCHED_RR : cluster.SCHED_NONE;
  const workers = Array.from({ length: WORKERS }, () => cluster.fork());
  const listening = workers.map((worker) => new Promise((resolve) => {
    worker.on('listening', resolve);
  }));
  const [{ port }] = await Promise.all(listening);
  say({ port });
  await told();
  const served = [];
  for (const worker of workers) {
    const answer = message(worker);
    worker.send('how many?');
    served.push(await answer);
  }
  for (const worker of workers) worker.process.kill('SIGKILL');
  say({ served });
  process.exit();
}

function serve() {
  let served = 0;
  net.createServer((socket) => {
    socket.on('data', (request) => {
      if (request.subarray(0, 4).equals(GET) && request.subarray(-4).equals(END)) served++;
      socket.end(RESPONSE);
    });
    socket.on('error', () => {}); // the client goes away when its time is up
  }).listen(0, '127.0.0.1');
  process.on('message', () => process.send(served));
}

const [GET, END] = [Buffer.from('GET '), Buffer.from('\r\n\r\n')];
if (cluster.isPrimary) primary();
else serve();
