// From the start of a worker to its first message, with Node's cluster. `mode=cold` counts from
// the moment that the caller gives as `since`, before this program was started.
'use strict';

const cluster = require('cluster');
const { text, number, phases, say, now, spread, message } = require('./common');

// Starts a worker, waits for its first message, ends it; gives the moment the message came.
async function startOne() {
  const worker = cluster.fork();
  const body = await message(worker);
  const arrived = now();
  if (body !== 'hello') throw new Error('a wrong message');
  const exit = new Promise((resolve) => worker.once('exit', resolve));
  worker.process.kill('SIGKILL');
  await exit;
  return arrived;
}

async function primary() {
  const [warmup, seconds] = phases();
  const times = [];
  if (text('mode', 'warm') === 'cold') {
    times.push(await startOne() - number('since', 0));
  } else {
    const measured = now() + warmup;
    do await startOne(); while (now() < measured);
    const until = now() + seconds;
    let started;
    while ((started = now()) < until) times.push(await startOne() - started);
  }
  const sum = times.reduce((a, b) => a + b);
  say({ sent: times.length, received: times.length, seconds: sum, ...spread(times) });
}

if (cluster.isPrimary) primary();
else process.send('hello');
