/** The least of a primary, for the tests: Node can be the other end of a lane, too. */

import { type ChildProcess, spawn } from 'node:child_process';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import { Flag, Key, Kind, MAJOR, MINOR } from '../awp/awp_v1.ts';
import { asTable } from '../awp/errors.ts';
import { encodeEnvelope, headerBytes, parseHeader, splitBody } from '../awp/frame.ts';
import { decode, encode, type Value } from '../awp/msgpack.ts';
import type { NodeObject } from '../awp/objects.ts';

export interface Heard {
  readonly kind: number;
  readonly channel: number;
  readonly envelope: Value;
  readonly payload: Value;
}

export class Primary {
  readonly child: ChildProcess;
  /** handles that came, in their order */
  readonly handles: NodeObject[] = [];
  private readonly socket: Duplex;
  private readonly heard: Heard[] = [];
  private data = Buffer.alloc(0);
  private wake = (): void => {};
  private given = 0;
  private channel = 0;

  constructor(program: string, environment: Record<string, string> = {}) {
    this.child = spawn(process.execPath, [new URL(program, import.meta.url).pathname], {
      stdio: ['ignore', 'inherit', 'inherit', 'pipe', 'ipc'],
      env: {
        ...process.env,
        ACTORCLUSTER_CHANNEL: 'fd:3',
        ACTORCLUSTER_WORKER_ID: '7',
        ACTORCLUSTER_LANE: 'node',
        ...environment,
      },
    });
    this.socket = this.child.stdio[3] as Duplex;
    this.socket.on('data', (data: Buffer) => this.read(data));
    this.socket.on('error', () => {});
    this.socket.on('end', () => this.wake());
    this.child.on('message', (_, object) => {
      this.handles.push(object as NodeObject);
      this.wake();
    });
  }

  private read(data: Buffer): void {
    this.data = Buffer.concat([this.data, data]);
    for (let header = this.next(); header; header = this.next()) {
      const { envelope, payload } = splitBody(this.data.subarray(16, 16 + header.length));
      const { kind, channel } = header;
      this.heard.push({ kind, channel, envelope: decode(envelope), payload: decode(payload) });
      this.data = this.data.subarray(16 + header.length);
    }
    this.wake();
  }

  private next(): ReturnType<typeof parseHeader> {
    const header = this.data.length >= 16 ? parseHeader(this.data) : undefined;
    return header && this.data.length >= 16 + header.length ? header : undefined;
  }

  /** Wait until something is so. */
  async until<T>(look: () => T | undefined): Promise<T> {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** Wait for a frame of that kind, and take it. */
  hear(kind: number): Promise<Heard> {
    return this.until(() => {
      const at = this.heard.findIndex((frame) => frame.kind === kind);
      return at >= 0 ? this.heard.splice(at, 1)[0] : undefined;
    });
  }

  /** Send a frame; handles of it go by `give`, before or after. */
  say(kind: number, envelope: readonly Value[] | null, payload: Value, channel = 0, nfds = 0): void {
    const body = Buffer.concat([encodeEnvelope(envelope), encode([payload])]);
    const flags = nfds > 0 ? Flag.LANE : 0;
    this.socket.write(headerBytes({ length: body.length, kind, flags, nfds, channel }));
    this.socket.write(body);
  }

  /** Send a handle by the lane. */
  give(handle: NodeObject): void {
    this.given += 1;
    this.child.send({ handle: this.given }, handle as net.Socket);
  }

  /** The beginning of every conversation; gives what HELLO said. */
  async begin(): Promise<Heard> {
    const hello = await this.hear(Kind.HELLO);
    const { caps, handles } = asTable(hello.payload) ?? {};
    this.say(Kind.WELCOME, null, {
      [Key.WELCOME.VERSION]: [MAJOR, MINOR],
      [Key.WELCOME.WORKER]: 7,
      [Key.WELCOME.CLUSTER]: Buffer.alloc(16),
      [Key.WELCOME.NAME]: 'test',
      caps: caps ?? null,
      handles: handles ?? null,
    });
    await this.hear(Kind.READY);
    return hello;
  }

  /** Call the worker, and give what it replies. */
  async call(body: Value, entries: readonly Value[] = []): Promise<Value> {
    this.channel += 2;
    this.say(Kind.CALL, [null, null, entries], body, this.channel, entries.length);
    return (await this.hear(Kind.REPLY)).payload;
  }

  async stop(): Promise<void> {
    this.say(Kind.STOP, null, { [Key.STOP.DEADLINE]: 10000 });
    await this.hear(Kind.GOODBYE);
    this.say(Kind.GOODBYE, null, { [Key.GOODBYE.RECV]: 0 });
    this.socket.end();
  }

  /** Gone without a word. */
  vanish(): void {
    this.socket.destroy();
    if (this.child.connected) this.child.disconnect();
  }

  ended(): Promise<[number | null, string | null]> {
    return new Promise((resolve) => this.child.on('exit', (code, signal) => resolve([code, signal])));
  }
}
