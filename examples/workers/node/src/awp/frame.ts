/** Headers, bodies, and the frames that wait to be sent (section 3). */

import { Flag, HEADER_SIZE, type Kind } from './awp_v1.ts';
import { binHead, decode, encode, Overrun, skip, type Value } from './msgpack.ts';

export interface Header {
  readonly length: number;
  readonly kind: number;
  readonly flags: number;
  readonly nfds: number;
  readonly channel: number;
}

/** Read a header; undefined: it is none (AWP-FR-4). */
export function parseHeader(raw: Buffer): Header | undefined {
  if (raw[0] !== 0x95 || raw[1] !== 0xce || raw[6] !== 0xce || raw[11] !== 0xce) return undefined;
  const [kind = 0, flags = 0, nfds = 0] = raw.subarray(7, 10);
  return { length: raw.readUInt32BE(2), kind, flags, nfds, channel: raw.readUInt32BE(12) };
}

export function headerBytes(header: Header): Buffer {
  const raw = Buffer.alloc(HEADER_SIZE);
  raw[0] = 0x95;
  raw[1] = raw[6] = raw[11] = 0xce;
  raw.writeUInt32BE(header.length, 2);
  raw[7] = header.kind;
  raw[8] = header.flags;
  raw[9] = header.nfds;
  raw.writeUInt32BE(header.channel, 12);
  return raw;
}

/**
 * Cut a body into envelope and payload.
 *
 * @throws Overrun, NotMsgpack
 */
export function splitBody(bytes: Buffer): { envelope: Buffer; payload: Buffer } {
  const middle = skip(bytes, 0);
  const end = skip(bytes, middle);
  if (end !== bytes.length) throw new Overrun('a body of more than two objects');
  return { envelope: bytes.subarray(0, middle), payload: bytes.subarray(middle) };
}

/** Elements at the end that are nil need not be said (AWP-EV-1). */
export function encodeEnvelope(elements: readonly Value[] | null): Buffer {
  const list = [...(elements ?? [])];
  while (list.length > 0 && (list.at(-1) ?? null) === null) list.pop();
  return encode([list.length > 0 ? list : null]);
}

export const decodeEnvelope = (bytes: Buffer): Value => decode(bytes, 64);

/** How much of a large message goes in one frame: others pass in between. */
export const FRAGMENT_SIZE = 256 * 1024;

/** Something that can be on its way, and is closed where it does not get away. */
export interface Closable {
  close(): void;
}

/** A frame that waits to be sent, or what is left of a message in fragments. */
export interface Item<H extends Closable = Closable> {
  readonly kind: Kind;
  readonly channel: number;
  flags: number;
  handles: readonly H[];
  /** of a message in fragments: the envelope */
  body: Buffer;
  /** of a message in fragments: what is left of its payload */
  rest: Buffer | null;
  /** an answer that the primary can ask for as often as it likes */
  readonly provoked: boolean;
  /** called with the last of it, before it is written */
  done?: (() => void) | undefined;
  /** called when it is written */
  written?: (() => void) | undefined;
  begun?: boolean;
}

/** What goes in one write, and the handles of its frames. */
export interface Batch<H extends Closable> {
  readonly buffers: Buffer[];
  readonly handles: (readonly H[])[];
  readonly written: (() => void)[];
  size: number;
}

/** A batch is closed when it has so many bytes. */
const ENOUGH = 64 * 1024;

/**
 * Three queues. Urgent frames go first; then those that keep their order; and with each round one
 * fragment of one large message, so that none holds up the others for long.
 */
export class Outbox<H extends Closable> {
  private urgent: Item<H>[] = [];
  private ordered: Item<H>[] = [];
  private large: Item<H>[] = [];
  /** bytes of frames that wait, fragments not counted */
  size = 0;
  /** bytes of answers among them that were provoked */
  provoked = 0;

  get isEmpty(): boolean {
    return this.urgent.length + this.ordered.length + this.large.length === 0;
  }

  get largeCount(): number {
    return this.large.length;
  }

  push(item: Item<H>, isUrgent: boolean): void {
    const size = HEADER_SIZE + item.body.length;
    this.size += size;
    if (item.provoked) this.provoked += size;
    (isUrgent ? this.urgent : this.ordered).push(item);
  }

  pushLarge(item: Item<H>): void {
    this.large.push(item);
  }

  /** Take a large message back; false: it is not there any more. */
  removeLarge(item: Item<H>): boolean {
    const at = this.large.indexOf(item);
    if (at >= 0) this.large.splice(at, 1);
    return at >= 0;
  }

  /** Drop what will never be whole. */
  clearLarge(): void {
    for (const item of this.large) closeAll(item.handles);
    this.large = [];
  }

  clear(): void {
    for (const item of [...this.urgent, ...this.ordered]) closeAll(item.handles);
    this.clearLarge();
    this.urgent = [];
    this.ordered = [];
    this.size = this.provoked = 0;
  }

  /** Take the next frames out. */
  next(maxFrame: number): Batch<H> {
    const batch: Batch<H> = { buffers: [], handles: [], written: [], size: 0 };
    for (const queue of [this.urgent, this.ordered]) {
      let taken = 0;
      for (const item of queue) {
        if (batch.size >= ENOUGH) break;
        taken += 1;
        const size = HEADER_SIZE + item.body.length;
        this.size -= size;
        if (item.provoked) this.provoked -= size;
        add(batch, item, item.flags, item.body);
        finish(batch, item);
      }
      queue.splice(0, taken);
    }
    const [large] = this.large;
    if (large && batch.size < ENOUGH) this.fragment(batch, large, maxFrame);
    return batch;
  }

  /** Add the next piece of a large message (AWP-LG-1). */
  private fragment(batch: Batch<H>, item: Item<H>, maxFrame: number): void {
    const envelope = item.begun ? Buffer.of(0xc0) : item.body;
    const rest = item.rest as Buffer;
    const size = Math.min(FRAGMENT_SIZE, maxFrame - envelope.length - 5, rest.length);
    item.rest = rest.subarray(size);
    const more = item.rest.length > 0 ? Flag.MORE : 0;
    const body = Buffer.concat([envelope, binHead(size), rest.subarray(0, size)]);
    add(batch, item, item.flags | Flag.FRAG | more, body);
    item.begun = true;
    item.handles = [];
    if (!more) {
      this.large.shift();
      finish(batch, item);
    }
  }
}

function add<H extends Closable>(batch: Batch<H>, item: Item<H>, flags: number, body: Buffer): void {
  const nfds = item.handles.length;
  const lane = nfds > 0 ? Flag.LANE : 0;
  const { kind, channel } = item;
  batch.buffers.push(headerBytes({ length: body.length, kind, flags: flags | lane, nfds, channel }), body);
  batch.size += HEADER_SIZE + body.length;
  if (nfds > 0) batch.handles.push(item.handles);
}

function finish<H extends Closable>(batch: Batch<H>, item: Item<H>): void {
  item.done?.();
  if (item.written) batch.written.push(item.written);
}

export function closeAll(handles: readonly Closable[]): void {
  for (const handle of handles) handle.close();
}
