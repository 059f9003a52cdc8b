// So many workers of Node's cluster, each of which has answered one message and waits for more.
'use strict';

const cluster = require('cluster');
const { number, say, message, told } = require('./common');

async function primary() {
  const workers = Array.from({ length: number('workers', 8) }, () => cluster.fork());
  await Promise.all(workers.map(message)); // they are up
  const answers = await Promise.all(workers.map((worker) => {
    const answer = message(worker);
    worker.send(worker.id);
    return answer;
  }));
  say({ workers: workers.map((worker) => worker.process.pid) });
  await told();
  for (const worker of workers) worker.process.kill('SIGKILL');
  say({ sent: workers.length, received: answers.filter((id, i) => id === workers[i].id).length });
  process.exit();
}

if (cluster.isPrimary) {
  primary();
} else {
  process.on('message', (body) => process.send(body));
  process.send('up');
}
