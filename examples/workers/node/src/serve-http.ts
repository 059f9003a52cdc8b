/**
 * A web server: node:http on a port that workers share, as a worker of a primary, or by itself where
 * there is none.
 *
 *     node serve-http.js [--port N] [--shared]
 *
 * It answers four calls: "count" with the number of requests; "log" with a socket on which its access
 * log comes from then on; ["echo", value] with the value; and a message that brings a connection makes
 * it serve that one too. Told to stop, it ends the requests that are under way; who has connected and
 * not asked yet may do so for a while.
 *
 * With ACCESS_LOG in the environment its log is appended to that file, a line for each request before
 * anything else is done, by one write. MAX_CONNECTIONS may be open at once, 256 without.
 */

import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { awp, Handle, isWorker, type Message, run, type Value, type Worker } from './awp/index.ts';

/** For how long after STOP the first request of a connection is waited for, in ms. */
const FIRST_REQUEST = 5000;

/** Answers requests, counts them, writes a log, and knows which connections are busy. */
class Site {
  readonly server = http.createServer((request, response) => this.answer(request, response));
  requests = 0;
  private readonly name: string;
  private readonly file: number;
  private readonly listeners = new Set<net.Socket>();
  private readonly connections = new Map<net.Socket, 'new' | 'idle' | 'busy'>();
  private isStopping = false;
  private done: (() => void) | null = null;

  constructor(name: string) {
    this.name = name;
    const log = process.env['ACCESS_LOG'];
    this.file = log ? fs.openSync(log, 'a', 0o600) : -1;
    this.server.on('connection', (socket) => this.connected(socket));
    this.server.on('clientError', (_, socket) => socket.destroy());
  }

  private connected(socket: net.Socket): void {
    this.connections.set(socket, 'new');
    socket.on('close', () => {
      this.connections.delete(socket);
      if (this.connections.size === 0) this.done?.();
    });
  }

  private answer(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { socket, method, url } = request;
    this.connections.set(socket, 'busy');
    this.requests += 1;
    const n = this.requests;
    if (this.file >= 0) fs.writeSync(this.file, `${url}\n`);
    for (const listener of this.listeners) listener.write(`${new Date().toISOString()} ${method} ${url}\n`);
    let size = 0;
    request.on('data', (data: Buffer) => {
      size += data.length;
    });
    request.on('end', () => {
      if (this.isStopping) response.setHeader('Connection', 'close');
      response.setHeader('Content-Type', 'text/plain; charset=utf-8');
      response.end(`hello from ${this.name}, process ${process.pid}, request ${n} of ${size} bytes\n`);
    });
    response.on('close', () => {
      if (this.isStopping) socket.end();
      else if (this.connections.has(socket)) this.connections.set(socket, 'idle');
    });
  }

  /** A socket on which the log comes, for somebody else. */
  async tap(): Promise<Handle> {
    const [ours, theirs] = await socketPair();
    this.listeners.add(ours);
    ours.on('error', () => {});
    ours.on('close', () => this.listeners.delete(ours));
    ours.resume(); // so that its end is seen
    return Handle.of(theirs);
  }

  /** End what is under way. Resolves when no connection is left. */
  async stop(hurry: AbortSignal): Promise<void> {
    this.isStopping = true;
    for (const listener of this.listeners) listener.end();
    for (const [socket, state] of this.connections) if (state === 'idle') socket.end();
    if (this.connections.size === 0) return;
    const late = setTimeout(() => this.drop('new'), FIRST_REQUEST);
    hurry.addEventListener('abort', () => this.drop('new', 'idle', 'busy'));
    await new Promise<void>((resolve) => {
      this.done = resolve;
    });
    clearTimeout(late);
  }

  private drop(...states: string[]): void {
    for (const [socket, state] of this.connections) if (states.includes(state)) socket.destroy();
  }
}

/** Two connected sockets, the second of which has read nothing: Node has no socketpair. */
async function socketPair(): Promise<[net.Socket, net.Socket]> {
  const place = fs.mkdtempSync(path.join(os.tmpdir(), 'serve-http-'));
  const server = net.createServer({ pauseOnConnect: true });
  try {
    await new Promise<void>((resolve) => server.listen(path.join(place, 's'), resolve));
    const accepted = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
    const ours = net.connect(path.join(place, 's'));
    return [ours, await accepted];
  } finally {
    server.close();
    fs.rmSync(place, { recursive: true, force: true });
  }
}

async function work(worker: Worker, port: number, isShared: boolean): Promise<void> {
  const site = new Site(worker.welcome.name);
  const listening = await worker.listen(
    {
      transport: 'tcp',
      host: '127.0.0.1',
      port,
      modes: [isShared ? 'shared' : 'handoff'],
      credit: Number(process.env['MAX_CONNECTIONS'] ?? 256),
    },
    (socket) => site.server.emit('connection', socket),
  );
  const [host, number] = listening.address as readonly Value[];
  worker.log(20, 'serve-http', `listening on ${host}:${number} in mode ${listening.mode}`);
  await worker.tell(null, { serving: `${host}:${number}` });
  worker.serving();
  for await (const message of worker.messages()) {
    try {
      await answer(message, site);
    } catch (error) {
      message.fail(error);
    }
    message.close(); // answers with not_handled what nobody has answered
  }
  await site.stop(worker.hurry);
  worker.log(20, 'serve-http', `served ${site.requests} requests`);
}

async function answer(message: Message, site: Site): Promise<void> {
  const { body, handles } = message;
  const [connection] = handles;
  if (connection?.kind === awp.Handle.TCP_SOCKET) {
    site.server.emit('connection', connection.takeSocket());
    await message.reply();
  } else if (body === 'count') await message.reply(site.requests);
  else if (body === 'log') await message.reply(await site.tap());
  else if (Array.isArray(body) && body.length === 2 && body[0] === 'echo') await message.reply(body[1]);
}

const { values } = parseArgs({
  options: { port: { type: 'string', default: '8000' }, shared: { type: 'boolean', default: false } },
});
if (isWorker()) {
  await run({ name: 'serve-http' }, (worker) => work(worker, Number(values.port), values.shared));
} else {
  const { server } = new Site("nobody's worker");
  server.listen(Number(values.port), '127.0.0.1', () => process.stdout.write(`listening on ${values.port}\n`));
}
