// Questions and answers with Node's cluster, which has none: a number goes along and comes back,
// and a Map finds who waits for it.
'use strict';

const cluster = require('cluster');
const { text, number, data, phases, say, now, spread, message } = require('./common');

class Asker {
  constructor(worker) {
    this.worker = worker;
    this.waiting = new Map();
    this.sent = 0;
    this.checksum = 0;
    this.times = [];
    this.data = data();
    this.onMessage = (body) => {
      const resolve = this.waiting.get(body.n);
      this.waiting.delete(body.n);
      resolve(body);
    };
    worker.on('message', this.onMessage);
  }

  ask(body) {
    return new Promise((resolve) => {
      this.waiting.set(body.n, resolve);
      this.worker.send(body);
    });
  }

  // Keeps so many questions in flight; gives the seconds until the last answer.
  async run(seconds, inFlight) {
    const started = now();
    await Promise.all(Array.from({ length: inFlight }, () => this.askUntil(started + seconds)));
    this.worker.off('message', this.onMessage);
    return now() - started;
  }

  async askUntil(until) {
    let asked;
    while ((asked = now()) < until) {
      const n = this.sent++;
      const answer = await this.ask({ n, data: this.data });
      this.times.push(now() - asked);
      if (answer.n !== n) throw new Error('a wrong answer');
      this.checksum += answer.n + answer.data.length;
    }
  }
}

async function primary() {
  cluster.setupPrimary({ serialization: text('serialization', 'json') });
  const worker = cluster.fork();
  await message(worker); // it is up
  let [asker, elapsed] = [null, 0];
  for (const seconds of phases()) {
    asker = new Asker(worker);
    elapsed = await asker.run(seconds, number('in_flight', 1));
  }
  worker.process.kill('SIGKILL');
  const { sent, checksum, times } = asker;
  say({ sent, received: times.length, checksum, seconds: elapsed, ...spread(times) });
  process.exit();
}

if (cluster.isPrimary) {
  primary();
} else {
  process.on('message', (body) => process.send(body));
  process.send('up');
}
