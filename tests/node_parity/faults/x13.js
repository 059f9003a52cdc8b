'use strict';
// The primary is busy: nobody is served, although the workers are idle.
const cluster = require('cluster');
const { spawnSync } = require('child_process');
const { finish, listening, serve } = require('./common');

const CLIENT = `
  const socket = require('net').connect(process.argv[1], '127.0.0.1');
  socket.on('data', (data) => { console.log(data.toString()); process.exit(); });
  setTimeout(() => process.exit(), 500);
`;

async function main() {
  const { port } = await listening();
  // Nothing else runs here until the client has ended.
  const { stdout } = spawnSync(process.execPath, ['-e', CLIENT, `${port}`]);
  finish({ served: stdout.toString().trim() });
}

if (cluster.isPrimary) main(); else serve();
