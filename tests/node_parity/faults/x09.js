'use strict';
// A message to a worker that is dead already is taken; later there is an error that nobody asked for.
const cluster = require('cluster');
const fs = require('fs');
const { finish, listening, serve } = require('./common');

async function main() {
  const { worker } = await listening();
  const { pid } = worker.process;
  process.kill(pid, 'SIGKILL');
  while (!fs.readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ')); // nothing else runs
  worker.on('error', (error) => finish({ taken, error: error.code }));
  const taken = worker.send('too late');
  setTimeout(() => finish({ taken, error: null }), 2000);
}

if (cluster.isPrimary) main(); else serve();
