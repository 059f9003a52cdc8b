// Restarts of a worker that exits as soon as it runs, with Node's cluster, as its documentation
// writes them: a fork for each `exit`.
'use strict';

const cluster = require('cluster');
const { phases, say, now } = require('./common');

function primary() {
  const [warmup, seconds] = phases();
  const begin = now();
  let count = 0;
  let started = null;
  cluster.on('exit', (worker, code) => {
    if (code !== 1) throw new Error(`a worker ended with ${code}`);
    const at = now();
    if (started === null) {
      if (at >= begin + warmup) started = at;
    } else {
      count += 1;
      if (at >= started + seconds) {
        say({ sent: count, received: count, seconds: at - started });
        return;
      }
    }
    cluster.fork();
  });
  cluster.fork();
}

if (cluster.isPrimary) primary();
else process.exit(1);
