/**
 * Messages as they arrive: TELL, CALL and REPLY, in one frame or in fragments. What is wrong with one
 * is remembered and answered when it is complete: only then it has a number (AWP-MS-6).
 */

import { Abort, Envelope, ErrorCode, Flag, HEADER_SIZE, Kind, Meta } from './awp_v1.ts';
import { AwpError, asList, asNumber, asTable, asUint, errorTable } from './errors.ts';
import { closeAll, decodeEnvelope } from './frame.ts';
import { Handle, headsOf, parseEntry, resolver, verifyAll } from './handle.ts';
import { decode, type Table, type Value } from './msgpack.ts';
import type { Frame } from './receive.ts';
import type { Session } from './session.ts';

/** A TELL or CALL that is complete. */
export interface Arrived {
  readonly isCall: boolean;
  readonly channel: number;
  readonly number: number;
  /** window bytes, which go back when it leaves the mailbox */
  readonly cost: number;
  readonly to: Value;
  readonly from: Value;
  readonly meta: Table;
  readonly body: Value;
  readonly handles: readonly Handle[];
}

/** One of which not everything is there, or has been looked at. */
class Partial {
  readonly kind: number;
  readonly channel: number;
  /** what its cost is bounded by */
  readonly window: number;
  readonly envelope: number;
  to: Value = null;
  from: Value = null;
  meta: Table = {};
  handles: Handle[] = [];
  pieces: Buffer[] = [];
  /** bytes of `pieces` */
  kept = 0;
  /** bytes of the payload, dropped ones included */
  size = 0;
  wrong: AwpError | null = null;

  constructor(frame: Frame, window: number) {
    this.kind = frame.kind;
    this.channel = frame.channel;
    this.window = window;
    this.envelope = frame.envelope.length;
  }

  spoil(code: string, message: string): void {
    this.wrong ??= new AwpError(code, message);
    closeAll(this.handles);
    this.handles = [];
    this.pieces = [];
    this.kept = 0;
  }
}

/** The first ACK after so many messages is sent at once (AWP-MS-3). */
const MOST_UNACKNOWLEDGED = 500;

export class Incoming {
  private readonly s: Session;
  /** the primary's calls that are not answered, by channel */
  readonly calls = new Map<number, Arrived>();
  private readonly partial = new Map<number, Partial>();
  private kept = 0;
  /** messages that are complete */
  received = 0;
  private acked = 0;
  /** window bytes that the primary has not got back, and those of them that it may have */
  private taken = 0;
  private due = 0;

  constructor(session: Session) {
    this.s = session;
  }

  get hasPartial(): boolean {
    return this.partial.size > 0;
  }

  /** Something has gathered that `flush` sends. */
  get isGathered(): boolean {
    return this.due > 0 || this.acked < this.received;
  }

  /** Take a TELL, CALL or REPLY, or a fragment of one. */
  take(frame: Frame): void {
    const { s } = this;
    const drop = (): void => {
      for (const still of frame.stills) still.close();
    };
    const inPieces = (frame.flags & Flag.FRAG) !== 0;
    const hasMore = (frame.flags & Flag.MORE) !== 0;
    let message = frame.channel === 0 ? undefined : this.partial.get(frame.channel);
    if (message) {
      if (message.kind !== frame.kind || !inPieces || frame.nfds > 0) {
        drop();
        s.abort(Abort.PROTOCOL_ERROR, 'not the next fragment of the message on its channel', frame.raw);
        return;
      }
    } else if (frame.kind === Kind.REPLY && !s.outgoing.pending.has(frame.channel)) {
      drop(); // it crossed the end of the call
      return;
    } else if (frame.kind !== Kind.REPLY && frame.channel !== 0 && !this.isFree(frame.channel)) {
      drop();
      s.abort(Abort.PROTOCOL_ERROR, `channel ${frame.channel} is not free`, frame.raw);
      return;
    } else if (hasMore && this.partial.size >= s.local.max_partial / 256) {
      drop(); // AWP-LG-8
      s.abort(Abort.LIMIT_EXCEEDED, 'too many messages are not complete', frame.raw);
      return;
    } else message = this.begin(frame);
    if (inPieces) this.add(message, frame);
    else this.whole(message, frame.payload);
    if (hasMore) this.partial.set(frame.channel, message);
    else {
      this.partial.delete(frame.channel);
      this.kept -= inPieces ? message.kept : 0;
      this.complete(message);
    }
  }

  private isFree(channel: number): boolean {
    return channel % 2 === 0 && !this.calls.has(channel);
  }

  private whole(message: Partial, payload: Buffer): void {
    const most = this.s.local.max_message;
    message.size = payload.length;
    if (!message.wrong && message.size + headsOf(message.handles) > most) {
      message.spoil(ErrorCode.TOO_LARGE, `${message.size} bytes, ${most} are allowed`);
    }
    if (!message.wrong) message.pieces = [payload];
  }

  /** Look at the first frame of a message: its envelope, and the state (AWP-LG-5). */
  private begin(frame: Frame): Partial {
    const { s } = this;
    const message = new Partial(frame, s.local.window);
    this.readEnvelope(message, frame);
    if (message.wrong) return message;
    if (frame.refuse) message.spoil(ErrorCode.REFUSED, 'the worker is stopping');
    else if (frame.kind === Kind.CALL && this.calls.size >= s.local.max_calls) {
      message.spoil(ErrorCode.REFUSED, `${this.calls.size} calls are not answered yet`);
    }
    return message;
  }

  /** Address, handles and meta map. All descriptors are in the message then, or closed. */
  private readEnvelope(message: Partial, frame: Frame): void {
    const isReply = frame.kind === Kind.REPLY;
    const at = isReply ? Envelope.REPLY.HANDLES : Envelope.TELL.HANDLES;
    let envelope: readonly Value[] | undefined;
    try {
      envelope = frame.broken ? undefined : asList(decodeEnvelope(frame.envelope));
    } catch {
      // a broken body
    }
    const entries = asList(envelope?.[at]);
    const meta = asTable(envelope?.[at + 1]);
    const isAddressed = isReply || (isAddress(envelope?.[0]) && isAid(envelope?.[1]));
    const isCounted = entries?.length === frame.nfds;
    if (!envelope || !entries || !meta || !isAddressed || !isCounted || !isMeta(meta, entries.length)) {
      for (const still of frame.stills) still.close();
      message.spoil(ErrorCode.BAD_PAYLOAD, 'a broken envelope');
      return;
    }
    if (!isReply) {
      message.to = envelope[0] ?? null;
      message.from = envelope[1] ?? null;
    }
    message.meta = meta;
    const handles = this.readHandles(entries, frame);
    if (handles instanceof AwpError) message.spoil(handles.code, handles.message);
    else {
      message.handles = handles;
      const size = message.envelope - headsOf(handles);
      if (size > this.s.local.max_meta) message.spoil(ErrorCode.TOO_LARGE, `an envelope of ${size} bytes`);
    }
  }

  /** Pair the entries of an envelope with the frame's handles; on failure these are closed. */
  readHandles(entries: readonly Value[], frame: Frame): Handle[] | AwpError {
    const found = entries.map((entry) => parseEntry(entry, this.s.caps.has('handle.head')));
    const isBroken = found.includes(undefined);
    if (isBroken || frame.lost) {
      for (const still of frame.stills) still.close();
      if (isBroken) return new AwpError(ErrorCode.BAD_PAYLOAD, 'a broken description of a handle');
      return new AwpError(ErrorCode.HANDLE_LOST, 'the handles did not arrive');
    }
    return frame.stills.map((still, i) => Handle.arrived(found[i]?.kind ?? 0, found[i]?.meta ?? {}, still));
  }

  /** Add a fragment, and turn the message down once it has grown too large (AWP-LG-3). */
  private add(message: Partial, frame: Frame): void {
    const { max_message, max_partial } = this.s.local;
    let piece: Value;
    try {
      piece = frame.broken ? null : decode(frame.payload, 0);
    } catch {
      piece = null;
    }
    const before = message.kept;
    if (!(piece instanceof Uint8Array)) message.spoil(ErrorCode.BAD_PAYLOAD, 'a fragment that is not a bin');
    else {
      message.size += piece.length;
      if (message.size + headsOf(message.handles) > max_message) {
        message.spoil(ErrorCode.TOO_LARGE, `more than the ${max_message} bytes that are allowed`);
      } else if (this.kept + piece.length > max_partial) {
        message.spoil(ErrorCode.TOO_LARGE, `unfinished messages of more than ${max_partial} bytes`);
      } else if (!message.wrong) {
        message.pieces.push(piece as Buffer);
        message.kept += piece.length;
      }
    }
    this.kept += message.kept - before;
  }

  /** Decode a message that is there as a whole, and give it to whom it is for. */
  private complete(message: Partial): void {
    let body: Value = null;
    if (!message.wrong) {
      const [only] = message.pieces;
      const payload = message.pieces.length === 1 && only ? only : Buffer.concat(message.pieces);
      try {
        const resolve = resolver(message.handles);
        body = decode(payload, this.s.local.max_depth, { resolve, keepFloats: this.s.keepFloats });
        const wrong = verifyAll(message.handles);
        if (wrong) message.spoil(wrong.code, wrong.message);
      } catch (error) {
        message.spoil(ErrorCode.BAD_PAYLOAD, (error as Error).message);
      }
    }
    if (message.kind === Kind.REPLY) {
      const { wrong, handles } = message;
      this.s.outgoing.answered(message.channel, wrong ? null : { body, handles }, wrong);
    } else this.enter(message, body);
  }

  private enter(message: Partial, body: Value): void {
    const { s } = this;
    this.received += 1;
    const cost = Math.min(message.window, Math.max(256, HEADER_SIZE + message.envelope + message.size));
    if (this.taken + cost > s.local.window) {
      closeAll(message.handles);
      const left = s.local.window - this.taken;
      s.abort(Abort.FLOW_VIOLATION, `message ${this.received} costs ${cost} bytes, ${left} are left`);
      return;
    }
    this.taken += cost;
    const { channel, to, from, meta, handles } = message;
    const isCall = message.kind === Kind.CALL;
    const arrived: Arrived = { isCall, channel, number: this.received, cost, to, from, meta, body, handles };
    let wrong = message.wrong;
    if (!wrong) {
      if (isCall) this.calls.set(channel, arrived);
      wrong = s.up.message(arrived);
    }
    if (!wrong) {
      if (this.received - this.acked >= MOST_UNACKNOWLEDGED) this.acknowledge();
      return;
    }
    this.calls.delete(channel);
    closeAll(handles);
    this.bounce(arrived, wrong);
  }

  /** Answer a message that reaches no mailbox (AWP-MS-5). */
  private bounce(message: Arrived, why: AwpError): void {
    const payload = errorTable(why);
    const { channel, number, to } = message;
    if (message.isCall) this.s.answer({ kind: Kind.ERROR, channel, payload });
    else this.s.answer({ kind: Kind.UNDELIVERABLE, envelope: [number, to], payload });
    this.release(message.cost);
  }

  /** CANCEL ends a message that is not complete (AWP-LG-6), or asks a call to end. */
  cancel(channel: number): void {
    const message = this.partial.get(channel);
    if (message && message.kind !== Kind.REPLY) {
      this.forget(channel);
      const payload = errorTable(new AwpError(ErrorCode.CANCELLED));
      if (message.kind === Kind.CALL) this.s.answer({ kind: Kind.ERROR, channel, payload });
      return;
    }
    const call = this.calls.get(channel);
    if (call) this.s.up.cancelled(call);
  }

  /** What has come of a message is dropped. */
  forget(channel: number): void {
    const message = this.partial.get(channel);
    if (!message) return;
    this.partial.delete(channel);
    this.kept -= message.kept;
    closeAll(message.handles);
  }

  dropPartial(): void {
    for (const channel of [...this.partial.keys()]) this.forget(channel);
  }

  // ---- what goes back ----

  /** Give back what a message cost, when it has left the mailbox (AWP-FC-4). */
  release(cost: number): void {
    this.due += cost;
    if (this.due >= this.s.local.window / 4) this.sendCredit();
    else this.s.up.wake();
  }

  sendCredit(): void {
    while (this.due > 0) {
      const n = Math.min(this.due, 2 ** 32 - 1);
      this.due -= n;
      this.taken -= n;
      this.s.say({ kind: Kind.CREDIT, envelope: [n] });
    }
  }

  private acknowledge(): void {
    this.acked = this.received;
    if (this.s.caps.has('ack')) this.s.say({ kind: Kind.ACK, envelope: [this.received] });
  }

  /** Send the credit and the acknowledgements that have gathered. */
  flush(): void {
    this.sendCredit();
    if (this.acked < this.received) this.acknowledge();
  }

  close(_why: Error): void {
    this.dropPartial();
    this.calls.clear();
  }
}

function isAddress(value: Value): boolean {
  return value === null || value === undefined || typeof value === 'string' || asUint(value) !== undefined;
}

function isAid(value: Value): boolean {
  return value === null || value === undefined || asUint(value) !== undefined;
}

function isMeta(meta: Table, handles: number): boolean {
  const ttl = meta[Meta.MESSAGE.TTL] ?? null;
  const handle = meta[Meta.MESSAGE.HANDLE] ?? null;
  const name = meta[Meta.MESSAGE.NAME] ?? null;
  if (ttl !== null && asNumber(ttl) === undefined) return false;
  if (handle !== null && !((asUint(handle) ?? handles) < handles)) return false;
  return name === null || typeof name === 'string';
}
