'use strict';
// A worker in Node that does what it is asked to with handles; `node worker.js`.
const dgram = require('dgram'); // without it, Node ends when it is given a UDP socket
const net = require('net');
const { Connection, Ext, KINDS } = require('./awp.js');

let received = 0;
const connection = new Connection((frame) => {
  switch (frame.kind) {
    case KINDS.WELCOME: return connection.send(KINDS.READY, null, {});
    case KINDS.PING: return connection.send(KINDS.PONG, null, null, frame);
    case KINDS.SETTINGS: return connection.send(KINDS.SETTINGS_ACK, null, null);
    case KINDS.STOP:
      connection.send(KINDS.GOODBYE, null, { recv: received });
      return connection.socket.end();
    case KINDS.ABORT: return process.exit(1);
    case KINDS.CALL: received += 1; return call(frame);
    case KINDS.LISTENING: return listening(frame);
    case KINDS.CONN: return serve(frame);
    default: return undefined;
  }
});

// Handles of kind `kind`, named in the payload one by one.
function give(channel, kind, handles) {
  const entries = handles.map(() => [kind, {}]);
  const body = handles.map((_, i) => new Ext(1, i));
  connection.send(KINDS.REPLY, [entries], body, { channel, handles });
}

const COMMANDS = {
  // What each of them is, to Node.
  take(channel, _, handles) {
    const names = handles.map((handle) => handle.constructor.name);
    for (const handle of handles) (handle.destroy || handle.close).call(handle);
    connection.send(KINDS.REPLY, null, names, { channel });
  },
  // Write to each, whatever it is.
  greet(channel, text, handles) {
    for (const handle of handles) handle.end(text, () => handle.destroy());
    connection.send(KINDS.REPLY, null, handles.length, { channel });
  },
  // Answer one datagram.
  answer(channel, _, [socket]) {
    socket.once('message', (data, from) => {
      socket.send(data, from.port, from.address, () => socket.close());
    });
    connection.send(KINDS.REPLY, null, socket.address().port, { channel });
  },
  // Say who serves to whoever connects there.
  serve(channel, text, [server]) {
    server.on('connection', (socket) => socket.end(text));
    connection.send(KINDS.REPLY, null, null, { channel });
  },
  // Give back what came.
  back(channel, kind, handles) { give(channel, kind, handles); },
  // New servers.
  servers(channel, count) {
    const servers = Array.from({ length: count }, () => net.createServer());
    let left = count;
    for (const server of servers) {
      server.listen(0, '127.0.0.1', () => { if (--left === 0) give(channel, 2, servers); });
    }
  },
  // The frame long before its handles, and another frame in between.
  late(channel) {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      connection.given += 1;
      const number = connection.given;
      const head = { channel, handles: [] };
      declare(channel, number);
      setTimeout(() => process.send({ handle: number }, server), 50);
      return head;
    });
  },
  // A frame whose handle never comes.
  silent(channel) { connection.given += 1; declare(channel); },
  // The lane is closed, while all else goes on.
  leave(channel) {
    process.disconnect();
    connection.send(KINDS.REPLY, null, null, { channel });
  },
  // A lane that says other things as well.
  chatter(channel) {
    process.send({ cmd: 'hello', handle: 1 });
    process.send('text');
    process.send({ handle: 5000 }, net.createServer().listen(0));
    COMMANDS.servers(channel, 1);
  },
  listen(channel, map) {
    connection.asked = channel;
    connection.send(KINDS.LISTEN, null, map, { channel: 1 });
  },
  environment(channel) {
    const names = Object.keys(process.env).filter((name) => /^(NODE_CHANNEL|NODE_UNIQUE|ACTORCLUSTER_)/.test(name));
    connection.send(KINDS.REPLY, null, names, { channel });
  },
};

// A REPLY that has one handle, which does not go by the lane here.
function declare(channel) {
  const real = process.send;
  process.send = () => true;
  connection.given -= 1;
  connection.send(KINDS.REPLY, [[[2, {}]]], [new Ext(1, 0)], { channel, handles: [null] });
  process.send = real;
}

function call({ channel, payload, handles, body }) {
  const [command, argument] = payload;
  connection.send(KINDS.CREDIT, [Math.max(256, 16 + body.length)], null);
  COMMANDS[command](channel, argument, handles);
}

// ---- ports

let taken = 0;
const { pid } = process;

function listening({ payload, handles }) {
  if (payload.mode === 'shared') {
    handles[0].on('connection', (socket) => socket.end(`node ${pid}`));
  }
  connection.send(KINDS.REPLY, null, payload.address, { channel: connection.asked });
}

function serve({ channel, handles }) {
  taken += handles.length;
  connection.send(KINDS.CONN_REPLY, [taken], null, { channel });
  for (const socket of handles) {
    socket.on('error', () => {});
    socket.on('close', () => connection.send(KINDS.CONN_CREDIT, [1], null, { channel }));
    socket.end(`node ${pid}`);
    socket.resume();
  }
}

connection.send(KINDS.HELLO, null, {
  versions: [[1, 0]],
  caps: ['msg', 'call', 'handle', 'handle.send', 'handle.ack', 'listen.handoff', 'listen.shared'],
  limits: { max_fds: 4 },
  handles: [
    'tcp-socket', 'tcp-listener', 'udp-socket', 'unix-stream', 'unix-listener', 'pipe-read',
    'pipe-write', 'file', 'memfd',
  ],
});
void dgram;
