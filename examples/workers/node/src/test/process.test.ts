/** Workers as processes, with a primary that is Node too. */

import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import { afterEach, test } from 'node:test';
import { Ext as ExtCode, Handle as HandleKind, Kind } from '../awp/awp_v1.ts';
import { Ext, type Table, type Value } from '../awp/msgpack.ts';
import { Primary } from './primary.ts';

const started: Primary[] = [];

function start(program: string, environment: Record<string, string> = {}): Primary {
  const primary = new Primary(program, environment);
  started.push(primary);
  return primary;
}

afterEach(() => {
  for (const { child } of started.splice(0)) child.kill('SIGKILL');
});

const CONFORMANCE = '../conformance.js';
const SERVE_HTTP = '../serve-http.js';
const reference = (index: number): Ext => new Ext(ExtCode.HANDLE, Buffer.of(index));

test('messages and handles both ways, and a good end', async () => {
  const primary = start(CONFORMANCE);
  const ended = primary.ended();
  const hello = (await primary.begin()).payload as Table;
  assert.equal(hello['worker'], 7);
  assert.deepEqual(
    await primary.call(['echo', { a: [1, null, 'ü'] }]),
    Object.assign(Object.create(null), { a: [1, null, 'ü'] }),
  );
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { ino } = fs.fstatSync((server as unknown as { _handle: { fd: number } })._handle.fd);
  primary.give(server);
  const taken = await primary.call(['take_handle', [reference(0)]], [[HandleKind.TCP_LISTENER, {}]]);
  assert.deepEqual(taken, [[HandleKind.TCP_LISTENER, ino]]);
  server.close();
  const given = (await primary.call(['give_handle', 2])) as readonly Value[];
  assert.deepEqual(given, [reference(0), reference(1)]);
  await primary.until(() => primary.handles[1]);
  for (const handle of primary.handles) {
    assert.ok(handle instanceof net.Server && handle.listening);
    handle.close();
  }
  await primary.stop();
  assert.deepEqual(await ended, [0, null]);
});

test('a connection is read from when the primary has been told, and not before', async () => {
  const primary = start(SERVE_HTTP);
  const ended = primary.ended();
  await primary.begin();
  const { channel } = await primary.hear(Kind.LISTEN);
  primary.say(Kind.LISTENING, null, { mode: 'handoff', address: ['127.0.0.1', 1] }, channel);
  await primary.hear(Kind.SERVING);
  const server = net.createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  await new Promise((resolve) => server.once('listening', resolve));
  const client = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  client.end('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  const socket = await accepted;
  // The handle first, and much later the frame that speaks of it.
  primary.give(socket);
  assert.equal(await primary.call(['echo', 1]), 1);
  assert.equal(await primary.call('count'), 0);
  primary.say(Kind.CONN, [1, [[HandleKind.TCP_SOCKET, {}]]], null, channel, 1);
  const { envelope } = await primary.hear(Kind.CONN_REPLY);
  assert.deepEqual(envelope, [1]);
  let page = '';
  for await (const piece of client) page += String(piece);
  assert.match(page, /hello from test, process \d+, request 1 of 0 bytes\n$/);
  server.close();
  await primary.stop();
  assert.deepEqual(await ended, [0, null]);
});

test('a program that nobody has started as a worker says so', async () => {
  for (const environment of [{ ACTORCLUSTER_CHANNEL: 'fd:none' }, { ACTORCLUSTER_LANE: 'other' }]) {
    assert.deepEqual(await start(CONFORMANCE, environment).ended(), [2, null]);
  }
});

for (const program of [CONFORMANCE, './busy.js']) {
  test(`${program} ends with its primary, whatever it is doing`, async () => {
    const primary = start(program);
    const ended = primary.ended();
    await primary.begin();
    primary.vanish();
    assert.deepEqual(await ended, [0, null]);
  });
}
