// Open sockets with Node's cluster, one in each message: sent away, or asked about one by one.
// The same connected TCP socket is sent each time and kept open here; what arrives is asked for
// the port of its other end, and destroyed.
'use strict';

const cluster = require('cluster');
const net = require('net');
const { text, number, phases, say, now, spread, message } = require('./common');

async function sendFor(worker, socket, seconds) {
  const [chunk, until] = [number('chunk', 16), now() + seconds];
  const answer = message(worker);
  let sent = 0;
  while (now() < until) {
    for (let i = 1; i < chunk; i++) worker.send({ n: sent++ }, socket, { keepOpen: true });
    await new Promise((resolve) => {
      worker.send({ n: sent++ }, socket, { keepOpen: true }, resolve);
    });
  }
  worker.send({ end: sent });
  return answer;
}

async function askFor(worker, socket, seconds) {
  const [until, times] = [now() + seconds, []];
  let [sent, checksum, asked] = [0, 0, 0];
  while ((asked = now()) < until) {
    const reply = message(worker);
    worker.send({ n: sent, ask: true }, socket, { keepOpen: true });
    const answer = await reply;
    times.push(now() - asked);
    checksum += answer.n + answer.port;
    sent++;
  }
  return { sent, received: times.length, checksum, ...spread(times) };
}

// Two connected TCP sockets; gives one of them, and the port of the other.
function tcpPair() {
  return new Promise((resolve) => {
    const server = net.createServer((socket) => resolve([socket, client.localPort]));
    let client;
    server.listen(0, '127.0.0.1', () => { client = net.connect(server.address().port); });
  });
}

async function primary() {
  cluster.setupPrimary({ serialization: text('serialization', 'json') });
  const worker = cluster.fork();
  await message(worker); // it is up
  const [socket, port] = await tcpPair();
  let result;
  for (const seconds of phases()) {
    const started = now();
    const measure = text('mode', 'send') === 'send' ? sendFor : askFor;
    result = await measure(worker, socket, seconds);
    result.seconds = now() - started;
  }
  worker.process.kill('SIGKILL');
  say({ port, ...result });
  process.exit();
}

function receiver() {
  let [received, checksum] = [0, 0];
  process.on('message', (body, socket) => {
    if ('end' in body) {
      process.send({ sent: body.end, received, checksum });
      [received, checksum] = [0, 0];
      return;
    }
    received++;
    const port = socket.remotePort;
    socket.destroy();
    checksum += body.n + port;
    if (body.ask) process.send({ n: body.n, port });
  });
  process.send('up');
}

if (cluster.isPrimary) primary();
else receiver();
