/**
 * The protocol's vectors, played to the session as they are. Those with descriptors are left to the
 * conformance kit, which has real ones.
 */

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { test } from 'node:test';
import { Abort, Key, Kind } from '../awp/awp_v1.ts';
import { Aborted, type AwpError, asTable, Lost } from '../awp/errors.ts';
import { headerBytes, parseHeader, splitBody } from '../awp/frame.ts';
import type { Arrived } from '../awp/incoming.ts';
import { Lane } from '../awp/lane.ts';
import { completeLimits, type Limits, updateLimits } from '../awp/limits.ts';
import { decode, Ext, encode, Float, type Table, type Value } from '../awp/msgpack.ts';
import { Receiver } from '../awp/receive.ts';
import { Session, type Upper } from '../awp/session.ts';

/** Where the vectors are, if this is a part of the whole repository. */
const PLACE = '../../../protocol/vectors';
const options = { skip: fs.existsSync(PLACE) ? false : 'the vectors of the protocol are not here' };

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
interface Step {
  readonly send?: string;
  readonly receive?: string;
}
interface Read {
  readonly hex: string;
  readonly repeat?: number;
  readonly fds?: string[];
  readonly truncated?: boolean;
}
interface Vector {
  readonly id: string;
  readonly kind: string;
  readonly hex: string;
  readonly canonical: boolean;
  readonly frame: { readonly [key: string]: Json };
  readonly prelude: string;
  readonly before?: Step[];
  readonly reads: Read[];
  readonly eof?: string;
  readonly exact?: boolean;
  readonly expect: { readonly [key: string]: Json }[];
  readonly answers?: { readonly [key: string]: Json }[];
  readonly abort?: { readonly code: string; readonly optional?: boolean };
  readonly state?: string;
}

function load<T>(name: string): T {
  return JSON.parse(fs.readFileSync(`${PLACE}/${name}.json`, 'utf8')) as T;
}

/** Read the diagnostic form. */
function undiagnose(value: Json): Value {
  if (Array.isArray(value)) return value.map(undiagnose);
  if (typeof value === 'number') return Number.isInteger(value) ? value : value;
  if (typeof value !== 'object' || value === null) return value;
  const { $bin, $ext, $int, $float, $map } = value;
  if (typeof $bin === 'string') return Buffer.from($bin, 'hex');
  if (Array.isArray($ext)) return new Ext(Number($ext[0]), Buffer.from(String($ext[1]), 'hex'));
  if (typeof $int === 'string') return BigInt($int);
  if (typeof $float === 'string') return floatOf($float);
  const pairs = Array.isArray($map) ? ($map as [string, Json][]) : Object.entries(value);
  const table: Record<string, Value> = Object.create(null);
  for (const [key, element] of pairs) table[key] = undiagnose(element);
  return table;
}

function floatOf(text: string): Value {
  const special: Record<string, number> = { inf: Infinity, '-inf': -Infinity, nan: NaN, '-0': -0 };
  const value = special[text] ?? Number(text);
  return Number.isSafeInteger(value) && !Object.is(value, -0) ? new Float(value) : value;
}

const decodeAll = (bytes: Buffer): Value => decode(bytes, 64, { keepFloats: true });

test('frames', options, () => {
  for (const vector of load<Vector[]>('frames')) {
    const raw = Buffer.from(vector.hex, 'hex');
    const header = parseHeader(raw);
    assert.ok(header, vector.id);
    assert.equal(header.length, raw.length - 16, vector.id);
    if (vector.canonical) assert.deepEqual(headerBytes(header), raw.subarray(0, 16), vector.id);
    if (!('envelope' in vector.frame)) continue;
    const body = splitBody(raw.subarray(16));
    for (const part of ['envelope', 'payload'] as const) {
      const value = decodeAll(body[part]);
      assert.deepEqual(value, undiagnose(vector.frame[part] ?? null), `${vector.id}: ${part}`);
      if (vector.canonical) assert.equal(encode([value]).length, body[part].length, `${vector.id}: ${part}`);
    }
  }
});

/** A session, and what it told. */
class Stage implements Upper {
  readonly events: { readonly event: string; readonly [key: string]: Value }[] = [];
  readonly session: Session;
  readonly receiver: Receiver;

  constructor(limits: Partial<Limits>, caps: readonly string[]) {
    const port = { on: () => {}, send: () => {}, disconnect: () => {}, connected: true };
    this.session = new Session(this, limits, new Lane(port));
    this.session.caps = new Set(caps);
    this.session.keepFloats = true;
    this.receiver = new Receiver(this.session);
  }

  welcomed(): void {}
  wake(): void {}
  listening(): void {}
  connections(): void {}
  closed(): void {}

  configured(settings: Table): void {
    this.events.push({ event: 'SettingsChanged', settings });
  }

  stop(within: number | null, reason: number): void {
    this.events.push({ event: 'Stop', deadline: within === null ? null : within / 1000, reason });
  }

  message({ isCall, channel, number, cost, body, to, from }: Arrived): null {
    const event = isCall ? 'CallReceived' : 'TellReceived';
    this.events.push({ event, channel, number, charge: cost, body, to, sender: from });
    return null;
  }

  cancelled({ channel }: Arrived): void {
    this.events.push({ event: 'Cancelled', channel });
  }

  undeliverable(number: number, to: Value, error: AwpError): void {
    this.events.push({ event: 'Undeliverable', number, to, error: { code: error.code } });
  }

  feed(hex: string): void {
    this.receiver.feed(Buffer.from(hex, 'hex'));
  }

  /** All that would be written, as frames. */
  drain(): { kind: number; channel: number; body: Buffer }[] {
    const { out, peer } = this.session;
    const found = [];
    while (!out.isEmpty) {
      let data = Buffer.concat(out.next(peer.max_frame).buffers);
      while (data.length > 0) {
        const header = parseHeader(data);
        assert.ok(header);
        const end = 16 + header.length;
        found.push({ ...header, body: data.subarray(16, end) });
        data = data.subarray(end);
      }
    }
    return found;
  }
}

/** Do what the implementation does in a prelude. */
function say(stage: Stage | null, raw: Buffer): Stage {
  let here = stage;
  for (let data = raw; data.length > 0; ) {
    const header = parseHeader(data);
    assert.ok(header);
    const { payload } = splitBody(data.subarray(16, 16 + header.length));
    data = data.subarray(16 + header.length);
    const table = asTable(decode(payload)) ?? {};
    if (header.kind === Kind.HELLO) {
      const limits = completeLimits();
      updateLimits(limits, asTable(table[Key.HELLO.LIMITS]) ?? {});
      here = new Stage(limits, (table[Key.HELLO.CAPS] ?? []) as string[]);
      here.session.hello();
      continue;
    }
    assert.ok(here);
    const { session } = here;
    if (header.kind === Kind.READY) session.say({ kind: Kind.READY, payload: {} });
    else if (header.kind === Kind.GOODBYE) session.goodbye();
    else if (header.kind === Kind.SETTINGS) session.announce({});
    else if (header.kind === Kind.LISTEN) {
      session.openNext(header.channel);
      const { events } = here;
      const listener = session.ports.listen(table);
      const { channel } = header;
      listener.onSettled = () => {
        const { error } = listener;
        if (error && !session.ended)
          events.push({ event: 'ErrorReceived', channel, error: { code: (error as AwpError).code } });
      };
    } else if (header.kind === Kind.TELL || header.kind === Kind.CALL) send(here, header.kind, header.channel, payload);
  }
  assert.ok(here);
  return here;
}

function send(stage: Stage, kind: typeof Kind.TELL | typeof Kind.CALL, channel: number, payload: Buffer): void {
  if (channel > 0) stage.session.openNext(channel);
  const settle = (answer: { body: Value } | null, error: AwpError | null): void => {
    if (answer) stage.events.push({ event: 'ReplyReceived', channel, body: answer.body });
    else if (!stage.session.ended) stage.events.push({ event: 'ErrorReceived', channel, error: { code: error?.code } });
  };
  const call = kind === Kind.CALL ? { channel: 0, settle } : null;
  const message = { kind, to: null, payload, handles: [], expires: null, begun: () => {}, call, cost: 0 };
  assert.equal(stage.session.outgoing.submit(message), null);
}

const TOLD = new Set([
  'SettingsChanged',
  'Stop',
  'TellReceived',
  'CallReceived',
  'ReplyReceived',
  'ErrorReceived',
  'Cancelled',
  'Undeliverable',
]);
const FIELDS = new Set(['channel', 'number', 'charge', 'body', 'to', 'sender', 'deadline', 'settings']);
const SILENT: readonly number[] = [Kind.CREDIT, Kind.ACK, Kind.CONN_CREDIT, Kind.ABORT, Kind.HANDLE_ACK];

function play(vector: Vector, steps: readonly Step[], bytewise: boolean): void {
  let stage: Stage | null = null;
  for (const step of steps) {
    if (step.send) stage = say(stage, Buffer.from(step.send, 'hex'));
    else stage?.feed(step.receive ?? '');
  }
  assert.ok(stage);
  stage.drain();
  stage.events.length = 0;
  for (const read of vector.reads) {
    for (let i = 0; i < (read.repeat ?? 1); i += 1) {
      if (!bytewise) stage.feed(read.hex);
      else for (let at = 0; at < read.hex.length; at += 2) stage.feed(read.hex.slice(at, at + 2));
    }
  }
  const sent = stage.drain();
  const { session } = stage;
  if (vector.eof) session.eof();
  if (vector.abort) {
    const code = session.ended instanceof Aborted ? session.ended.code : null;
    const wanted = Abort[vector.abort.code.toUpperCase() as keyof typeof Abort];
    if (!vector.abort.optional) assert.equal(code, wanted, `ended by ${session.ended}`);
  } else {
    if (vector.eof) assert.equal(session.ended instanceof Lost, vector.eof === 'lost');
    if (vector.state) assert.equal(session.state, vector.state.toLowerCase());
    checkAnswers(vector, sent);
  }
  checkEvents(vector, stage);
  if (!session.ended) session.close(new Error('over'));
}

function checkEvents(vector: Vector, stage: Stage): void {
  const events = [...stage.events];
  for (const wanted of vector.expect) {
    if (!TOLD.has(String(wanted['event']))) continue;
    for (let i = 0; i < Number(wanted['repeat'] ?? 1); i += 1) {
      const got = events.shift();
      assert.equal(got?.event, wanted['event']);
      for (const [key, value] of Object.entries(wanted)) {
        if (FIELDS.has(key)) assert.deepEqual(got?.[key] ?? null, undiagnose(value), `${got?.event}: ${key}`);
      }
      const code = (wanted['error'] as { code?: string } | undefined)?.code;
      if (code) assert.deepEqual(got?.['error'], { code });
    }
  }
  // GOODBYE is told as a STOP.
  assert.deepEqual(
    events.filter(({ event }) => event !== 'Stop'),
    [],
  );
}

function checkAnswers(vector: Vector, sent: ReturnType<Stage['drain']>): void {
  const wanted = (vector.answers ?? []).flatMap((answer) => {
    const code = (answer['payload'] as { code?: string } | undefined)?.code ?? '';
    const kind = Kind[String(answer['kind']) as keyof typeof Kind];
    return Array<string>(Number(answer['repeat'] ?? 1)).fill(`${kind} ${answer['channel'] ?? 0} ${code}`);
  });
  const got = sent
    .filter(({ kind }) => !SILENT.includes(kind))
    .map(({ kind, channel, body }) => {
      const hasCode = kind === Kind.ERROR || kind === Kind.UNDELIVERABLE;
      const code = hasCode ? asTable(decode(splitBody(body).payload))?.[Key.ERROR.CODE] : '';
      return `${kind} ${channel} ${String(code)}`;
    });
  assert.deepEqual(got.sort(), wanted.sort());
}

test('streams', options, async (context) => {
  const preludes = load<Record<string, { role: string; steps: Step[] }>>('preludes');
  let played = 0;
  for (const name of ['values', 'streams', 'fragments', 'descriptors', 'faults', 'aborts']) {
    for (const vector of load<Vector[]>(name)) {
      const prelude = preludes[vector.prelude];
      if (vector.kind !== 'stream' || prelude?.role !== 'worker') continue;
      if (vector.prelude.includes('monitor') || vector.prelude.includes('bulk')) continue; // other levels
      if (vector.id.startsWith('down')) continue;
      const steps = [...prelude.steps, ...(vector.before ?? [])];
      const all: (Read & Step)[] = [...steps, ...vector.reads] as (Read & Step)[];
      if (all.some(({ fds, truncated, hex = '', receive = '' }) => fds || truncated || hasHandles(hex + receive)))
        continue;
      played += 1;
      await context.test(vector.id, () => play(vector, steps, false));
      if (!vector.exact) await context.test(`${vector.id}, by bytes`, () => play(vector, steps, true));
    }
  }
  assert.ok(played > 130, `${played} vectors`);
});

/** Whether a whole frame in there declares descriptors. */
function hasHandles(hex: string): boolean {
  for (let raw = Buffer.from(hex, 'hex'); raw.length >= 16; ) {
    const header = parseHeader(raw);
    if (!header) return false;
    if (header.nfds > 0) return true;
    raw = raw.subarray(16 + header.length);
  }
  return false;
}
