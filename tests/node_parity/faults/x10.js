'use strict';
// A worker that cannot be started has no exit.
const cluster = require('cluster');
const { finish, sleep } = require('./common');

cluster.setupPrimary({ cwd: '/nonexistent' });
const worker = cluster.fork();
const seen = [];
for (const name of ['error', 'disconnect', 'exit']) worker.on(name, () => seen.push(name));
sleep(500).then(() => finish({ seen }));
