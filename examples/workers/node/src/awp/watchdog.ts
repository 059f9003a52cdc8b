/**
 * A worker's process has ended two seconds after its primary is gone, whatever its code is doing
 * (AWP-ST-3). Code that is busy does not come back to the event loop to notice; so a thread looks.
 *
 * It cannot read the connection, which is the loop's. But to write nothing to a socket fails with
 * EPIPE as soon as the other end is closed, and does nothing before. Then the loop has a second to
 * notice too; if it does not, the thread attaches to it as a debugger would, and has it exit in the
 * midst of what it does. Code that is not even JavaScript does not hear of that, and is killed.
 *
 * A thread costs about as much as a third of a process. A program that never keeps the loop for long can
 * do without.
 */

import { Worker } from 'node:worker_threads';

const WATCH = `
  const fs = require('node:fs');
  const inspector = require('node:inspector');
  const { workerData } = require('node:worker_threads');
  const nothing = Buffer.alloc(0);
  const watch = setInterval(() => {
    try {
      fs.writeSync(workerData.fd, nothing);
    } catch (error) {
      if (error.code === 'EAGAIN') return;
      clearInterval(watch);
      setTimeout(exit, 1000);
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), 1700);
    }
  }, 200);
  function exit() {
    const session = new inspector.Session();
    session.connectToMainThread();
    session.post('Runtime.evaluate', { expression: 'process.exit(0)' });
  }
`;

/** Watch the connection with this descriptor; the function that is returned ends it. */
export function watch(fd: number): () => void {
  const thread = new Worker(WATCH, { eval: true, workerData: { fd }, env: {}, execArgv: [] });
  thread.on('error', () => {}); // who has no room for a thread goes without
  thread.unref();
  return () => void thread.terminate();
}
