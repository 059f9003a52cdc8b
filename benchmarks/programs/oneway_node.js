// One-way messages with Node's cluster: send() in bursts, waiting for the last one of each to be
// written. Of the ways to send that were tried, this was the fastest at all sizes.
'use strict';

const cluster = require('cluster');
const { text, number, data, phases, say, now, message } = require('./common');

async function sendFor(receiver, seconds) {
  const [carried, chunk, until] = [data(), number('chunk', 256), now() + seconds];
  let sent = 0;
  while (now() < until) {
    for (let i = 1; i < chunk; i++) receiver.send({ n: sent++, data: carried });
    await new Promise((resolve) => receiver.send({ n: sent++, data: carried }, resolve));
  }
  receiver.send({ end: sent });
}

// Looks at every message until the one that says how many were sent.
function receiveAll(emitter) {
  return new Promise((resolve) => {
    let [received, checksum] = [0, 0];
    emitter.on('message', function look(body) {
      if ('end' in body) {
        emitter.off('message', look);
        resolve({ sent: body.end, received, checksum });
        return;
      }
      received++;
      checksum += body.n + body.data.length;
    });
  });
}

async function primary(toWorker) {
  cluster.setupPrimary({ serialization: text('serialization', 'json') });
  const worker = cluster.fork();
  await message(worker); // it is up
  let result;
  for (const seconds of phases()) {
    const started = now();
    if (toWorker) {
      const answer = message(worker);
      await sendFor(worker, seconds);
      result = await answer;
    } else {
      const all = receiveAll(worker);
      worker.send({ seconds });
      result = await all;
    }
    result.seconds = now() - started;
  }
  worker.process.kill('SIGKILL');
  say(result);
  process.exit();
}

async function receiver() {
  process.send('up');
  for (;;) process.send(await receiveAll(process));
}

function sender() {
  process.on('message', ({ seconds }) => sendFor(process, seconds));
  process.send('up');
}

const toWorker = text('direction', 'to_worker') === 'to_worker';
if (cluster.isPrimary) primary(toWorker);
else if (toWorker) receiver();
else sender();
