'use strict';
// As much of the conformance actor as a side lane needs: `node lane_worker.js`, with a lane.
const fs = require('fs');
const net = require('net');
const { Connection, Ext, KINDS, close } = require('../lanes/awp.js');

let received = 0;
let acknowledged = 0;
const given = []; // for each frame, which Node may have yet to send
const connection = new Connection((frame) => {
  switch (frame.kind) {
    case KINDS.WELCOME: return connection.send(KINDS.READY, null, {});
    case KINDS.PING: return connection.send(KINDS.PONG, null, null, frame);
    case KINDS.STOP:
      connection.send(KINDS.GOODBYE, null, { recv: received });
      return connection.socket.end();
    case KINDS.HANDLE_ACK:
      for (; acknowledged < frame.envelope[0]; acknowledged += 1) given.shift().forEach(close);
      return undefined;
    case KINDS.CALL: received += 1; return call(frame);
    default: return undefined;
  }
});

const COMMANDS = {
  echo: ({ channel, payload }) => connection.send(KINDS.REPLY, null, payload[1], { channel }),
  take_handle({ channel, envelope, handles }) {
    const found = handles.map((handle, i) => [envelope[2][i][0], fs.fstatSync(handle._handle.fd).ino]);
    handles.forEach(close);
    connection.send(KINDS.REPLY, null, found, { channel });
  },
  give_handle({ channel, payload }) {
    const servers = Array.from({ length: payload[1] }, () => net.createServer());
    const listening = servers.map((server) => new Promise((done) => server.listen(0, '127.0.0.1', done)));
    Promise.all(listening).then(() => {
      const entries = servers.map(() => [2, {}]);
      const body = servers.map((_, i) => new Ext(1, i));
      connection.send(KINDS.REPLY, [entries], body, { channel, handles: servers });
      given.push(servers);
    });
  },
};

function call(frame) {
  const { channel, body, payload, lost } = frame;
  connection.send(KINDS.CREDIT, [Math.max(256, 16 + body.length)], null);
  if (lost) return connection.send(KINDS.ERROR, null, { code: 'handle_lost' }, { channel });
  return COMMANDS[payload[0]](frame);
}

connection.send(KINDS.HELLO, null, {
  versions: [[1, 0]],
  caps: ['msg', 'call', 'handle', 'handle.send', 'handle.ack'],
  limits: { max_fds: 4 },
  handles: ['tcp-socket', 'tcp-listener', 'unix-stream', 'unix-listener'],
});
