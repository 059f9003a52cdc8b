/**
 * Messages as they leave. All wait for credit in one queue, so none overtakes another, and what needs
 * much credit is not starved by what needs little.
 *
 * What is for another worker waits in a queue of its own before that. The primary holds what it cannot
 * pass on, and with it our credit: so that one worker that is stuck does not hold up what is for all
 * others, at most half of the window is given to one address before the primary says that it has
 * passed everything on (AWP-MS-14, AWP-MS-15).
 */

import { Abort, ErrorCode, HEADER_SIZE, KINDS, Kind, Meta, workerMaySend } from './awp_v1.ts';
import { AwpError, errorTable } from './errors.ts';
import { closeAll, encodeEnvelope, FRAGMENT_SIZE, type Item } from './frame.ts';
import { entriesOf, type Handle, headsOf, kindName } from './handle.ts';
import type { Arrived } from './incoming.ts';
import { encode, type Value } from './msgpack.ts';
import type { Session } from './session.ts';

/** The answer to a call of ours. */
export interface Answer {
  readonly body: Value;
  readonly handles: readonly Handle[];
}

/** A call that waits for its answer. */
interface Pending {
  channel: number;
  settle(answer: Answer | null, error: AwpError | null): void;
}

/** A TELL or CALL on its way out. */
export interface Leaving {
  readonly kind: typeof Kind.TELL | typeof Kind.CALL;
  /** an aid, a name, or null for the primary */
  readonly to: Value;
  readonly payload: Buffer;
  readonly handles: readonly Handle[];
  /** by `performance.now()`; null: never */
  readonly expires: number | null;
  /** asks whether all before it was passed on */
  readonly room?: boolean;
  /** it has its credit, or never will: then with an error */
  begun(error: AwpError | null): void;
  call: Pending | null;
  cost: number;
  item?: Item<Handle>;
}

/** The way to one other worker. */
interface Way {
  /** what messages cost of which it is not known whether they were passed on */
  unknown: number;
  readonly queue: Leaving[];
  asking: boolean;
}

export class Outgoing {
  private readonly s: Session;
  /** calls that wait for their answer, by channel */
  readonly pending = new Map<number, Pending>();
  private readonly ways = new Map<Value, Way>();
  private queue: Leaving[] = [];
  /** the one that leaves in fragments */
  private sending: Leaving | null = null;
  /** messages that have left */
  sent = 0;
  /** window bytes that have not come back */
  private spent = 0;
  /** frames with handles: how many were sent, and the copies of those not acknowledged */
  private frames = 0;
  private readonly kept: (readonly Handle[])[] = [];
  private inFlight = 0;

  constructor(session: Session) {
    this.s = session;
  }

  uses(channel: number): boolean {
    return this.pending.has(channel) || this.sending?.item?.channel === channel;
  }

  // ---- messages ----

  /** Queue a message, or say why it can never be sent; its handles are closed then. */
  submit(message: Leaving): AwpError | null {
    const wrong = this.obstacle(message);
    if (wrong) closeAll(message.handles);
    else if (message.to === null || !this.s.caps.has('call')) {
      this.queue.push(message);
      this.pump();
    } else {
      const way = this.ways.get(message.to) ?? { unknown: 0, queue: [], asking: false };
      this.ways.set(message.to, way);
      way.queue.push(message);
      this.advance(message.to, way);
    }
    return wrong;
  }

  private obstacle(message: Leaving): AwpError | null {
    const { s } = this;
    const { peer } = s;
    const info = KINDS.get(message.kind);
    const isLarge = this.isLarge(message);
    const size = message.payload.length + headsOf(message.handles);
    const envelope = envelopeOf(message).length;
    if (s.ended) return new AwpError(ErrorCode.CONNECTION_LOST, s.ended.message);
    if (!workerMaySend(s.state, message.kind)) return new AwpError(ErrorCode.REFUSED, `not in state ${s.state}`);
    if (info?.capability && !s.caps.has(info.capability)) return unimplemented(info.capability);
    if (size > peer.max_message || (isLarge && size > peer.max_partial)) return tooLarge(size, peer.max_message);
    if (envelope - headsOf(message.handles) > peer.max_meta) return tooLarge(envelope, peer.max_meta);
    if (envelope + 64 > peer.max_frame) return tooLarge(envelope, peer.max_frame);
    if (isLarge && !s.caps.has('frag')) return unimplemented('frag');
    return this.unfit(message.handles);
  }

  /** Why the primary does not take such handles (AWP-HA-1). */
  private unfit(handles: readonly Handle[]): AwpError | null {
    const { s } = this;
    if (handles.length === 0) return null;
    if (!s.caps.has('handle.send')) return unimplemented('handle.send');
    const most = Math.min(s.peer.max_fds, s.peer.fds_in_flight);
    if (handles.length > most) return tooLarge(handles.length, most);
    for (const handle of handles) {
      const name = kindName(handle.kind);
      let why = '';
      if (!s.takes.has(handle.kind)) why = `the primary takes no ${name}`;
      else if (handle.realKind !== handle.kind) why = `this is no ${name} any more`;
      else if (handle.head && !s.caps.has('handle.head')) why = 'handle.head is not in force';
      if (why) return new AwpError(ErrorCode.UNSUPPORTED_HANDLE, why);
    }
    return null;
  }

  private isLarge(message: Leaving): boolean {
    const { length } = message.payload;
    return length > FRAGMENT_SIZE || envelopeOf(message).length + length > this.s.peer.max_frame;
  }

  private price(size: number): number {
    return Math.min(this.s.peer.window, Math.max(256, HEADER_SIZE + size));
  }

  private hasRoom(handles: number): boolean {
    const { caps, peer } = this.s;
    return handles === 0 || !caps.has('handle.ack') || this.inFlight + handles <= peer.fds_in_flight;
  }

  /**
   * Let messages go for which there is credit (AWP-FC-1). While one leaves in fragments the next has
   * to wait: so messages keep their order, and their numbers (AWP-LG-2, AWP-MS-6).
   */
  pump(): void {
    while (this.queue.length > 0 && !this.sending && !this.s.ended) {
      const message = this.queue[0] as Leaving;
      const envelope = envelopeOf(message);
      message.cost = this.price(envelope.length + message.payload.length);
      if (message.cost > this.s.peer.window - this.spent || !this.hasRoom(message.handles.length)) return;
      this.queue.shift();
      this.dispatch(message, envelope);
    }
  }

  private dispatch(message: Leaving, envelope: Buffer): void {
    const { s } = this;
    const { kind, handles, payload } = message;
    const isLarge = this.isLarge(message);
    this.spent += message.cost;
    this.inFlight += handles.length;
    const channel = kind === Kind.CALL || isLarge ? s.open() : 0;
    if (message.call) {
      message.call.channel = channel;
      this.pending.set(channel, message.call);
    }
    if (isLarge) {
      const item: Item<Handle> = { kind, channel, flags: 0, handles, body: envelope, rest: payload, provoked: false };
      item.done = () => {
        this.sent += 1;
        this.sending = null;
        this.pump();
      };
      message.item = item;
      this.sending = message;
      s.out.pushLarge(item);
      s.up.wake();
    } else {
      this.sent += 1;
      s.say({ kind, channel, handles, body: Buffer.concat([envelope, payload]) });
    }
    message.begun(null);
  }

  /**
   * Take back a message that nobody wants sent any more, as far as that is possible: before it has
   * begun, without a trace; in fragments by CANCEL (AWP-LG-6); a call that is complete, by CANCEL too.
   */
  withdraw(message: Leaving): void {
    const way = this.ways.get(message.to);
    for (const queue of way ? [this.queue, way.queue] : [this.queue]) {
      const at = queue.indexOf(message);
      if (at < 0) continue;
      queue.splice(at, 1);
      closeAll(message.handles);
      if (way) this.advance(message.to, way);
      this.pump(); // it may have been in the way
      return;
    }
    const channel = message.item?.channel ?? message.call?.channel ?? 0;
    if (this.sending === message && message.item && this.s.out.removeLarge(message.item)) {
      this.sending = null;
      this.spent -= message.cost;
      if (message.item.begun) this.s.say({ kind: Kind.CANCEL, channel });
      else {
        this.inFlight -= message.handles.length;
        closeAll(message.handles);
        this.pending.delete(channel);
      }
      this.pump();
    } else if (message.call && this.pending.get(channel) === message.call) {
      this.s.say({ kind: Kind.CANCEL, channel });
    }
  }

  // ---- what is for other workers ----

  private advance(to: Value, way: Way): void {
    while (way.queue.length > 0) {
      const message = way.queue[0] as Leaving;
      const cost = this.price(envelopeOf(message).length + message.payload.length);
      if (way.unknown > 0 && way.unknown + cost > this.s.peer.window / 2) break;
      way.queue.shift();
      way.unknown += cost;
      this.queue.push(message);
    }
    if (way.unknown >= this.s.peer.window / 4 && !way.asking) this.ask(to, way);
    this.pump();
  }

  /** Ask behind all that was sent. Whatever comes as the answer is about what stands before it. */
  private ask(to: Value, way: Way): void {
    way.asking = true;
    const before = way.unknown;
    const settle = (): void => {
      way.asking = false;
      way.unknown -= before;
      if (this.s.ended) return;
      this.advance(to, way);
      if (way.unknown === 0 && way.queue.length === 0) this.ways.delete(to);
    };
    const call = { channel: 0, settle };
    const payload = Buffer.of(0xc0);
    this.queue.push({
      kind: Kind.CALL,
      to,
      payload,
      handles: [],
      expires: null,
      room: true,
      begun: () => {},
      call,
      cost: 0,
    });
  }

  // ---- what comes back ----

  credit(n: number): void {
    if (n > Math.max(this.spent, 0)) {
      this.s.abort(Abort.FLOW_VIOLATION, `${n} bytes of credit, ${this.spent} were spent`);
      return;
    }
    this.spent -= n;
    this.pump();
  }

  /** The end of a call of ours; one that is not open is none of them (AWP-CH-3). */
  answered(channel: number, answer: Answer | null, error: AwpError | null): void {
    const call = this.pending.get(channel);
    if (!call) {
      if (answer) closeAll(answer.handles);
      return;
    }
    this.pending.delete(channel);
    this.s.incoming.forget(channel);
    call.settle(answer, error);
  }

  /** Fail the calls that nobody will answer any more (AWP-CA-6). */
  failPending(why: string): void {
    const calls = [...this.pending.values()];
    this.pending.clear();
    for (const call of calls) call.settle(null, new AwpError(ErrorCode.CONNECTION_LOST, why));
  }

  // ---- answers to the primary's calls ----

  /** Whether there is room for an answer with so many handles; else it waits, as the primary does. */
  mayAnswer(handles: number): boolean {
    if (handles > this.s.peer.fds_in_flight) return true; // which is refused
    return this.s.out.size <= 1024 * 1024 && this.s.out.largeCount <= 4 && this.hasRoom(handles);
  }

  /** Answer a call (AWP-CA-1); that costs no credit. An error says that it was answered by one. */
  reply(call: Arrived, payload: Buffer, handles: readonly Handle[]): AwpError | null {
    const { s } = this;
    const { peer } = s;
    if (s.incoming.calls.get(call.channel) !== call) {
      closeAll(handles);
      return new AwpError(ErrorCode.CONNECTION_LOST, 'the call is not open any more');
    }
    const envelope = encodeEnvelope([entriesOf(handles)]);
    const size = payload.length + headsOf(handles);
    const isLarge = payload.length > FRAGMENT_SIZE || envelope.length + payload.length > peer.max_frame;
    let wrong = this.unfit(handles);
    if (!wrong && (size > peer.max_message || (isLarge && (size > peer.max_partial || !s.caps.has('frag'))))) {
      wrong = tooLarge(size, peer.max_message);
    } else if (!wrong && envelope.length - headsOf(handles) > peer.max_meta) {
      wrong = tooLarge(envelope.length, peer.max_meta);
    }
    if (wrong) {
      closeAll(handles);
      this.fail(call, wrong);
      return wrong;
    }
    s.incoming.sendCredit(); // what the call cost is known to be free before its answer is
    s.incoming.calls.delete(call.channel);
    this.inFlight += handles.length;
    const { channel } = call;
    if (isLarge) {
      s.out.pushLarge({ kind: Kind.REPLY, channel, flags: 0, handles, body: envelope, rest: payload, provoked: false });
      s.up.wake();
    } else s.say({ kind: Kind.REPLY, channel, handles, body: Buffer.concat([envelope, payload]) });
    return null;
  }

  /** Answer a call with an error. */
  fail(call: Arrived, error: AwpError): void {
    const { s } = this;
    if (s.incoming.calls.get(call.channel) !== call) return;
    s.incoming.calls.delete(call.channel);
    s.incoming.sendCredit();
    let body: Buffer;
    try {
      body = encode([null, errorTable(error)]);
    } catch {
      body = encode([null, errorTable(new AwpError(ErrorCode.INTERNAL, 'an error that cannot be encoded'))]);
    }
    s.say({ kind: Kind.ERROR, channel: call.channel, body });
  }

  // ---- handles ----

  /** A frame with these handles is written. */
  left(handles: readonly Handle[]): void {
    const isAcknowledged = this.s.caps.has('handle.ack');
    for (const handle of handles) {
      if (this.s.lane) this.s.lane.send(handle, isAcknowledged ? () => {} : () => handle.close());
      else handle.close();
    }
    if (!isAcknowledged) return;
    this.frames += 1;
    this.kept.push(handles);
  }

  /** HANDLE_ACK; false: it speaks of what was never sent. */
  departed(upto: number): boolean {
    if (upto > this.frames) return false;
    while (this.frames - this.kept.length < upto) {
      const handles = this.kept.shift() ?? [];
      this.inFlight -= handles.length;
      closeAll(handles);
    }
    this.pump();
    this.s.up.wake(); // an answer may wait for this
    return true;
  }

  close(why: Error): void {
    for (const handles of this.kept.splice(0)) closeAll(handles);
    const waiting = [...this.queue, ...[...this.ways.values()].flatMap((way) => way.queue)];
    this.queue = [];
    this.ways.clear();
    for (const message of waiting) {
      closeAll(message.handles);
      message.begun(new AwpError(ErrorCode.CONNECTION_LOST, why.message));
    }
    this.failPending(why.message);
  }
}

function envelopeOf(message: Leaving): Buffer {
  let meta: Value = null;
  if (message.room) meta = { [Meta.MESSAGE.ROOM]: true };
  if (message.expires !== null) {
    meta = { [Meta.MESSAGE.TTL]: Math.max(0, message.expires - performance.now()) };
  }
  return encodeEnvelope([message.to, null, entriesOf(message.handles), meta]);
}

function tooLarge(size: number, limit: number): AwpError {
  return new AwpError(ErrorCode.TOO_LARGE, `${size}, and ${limit} is allowed`, { data: { size, limit } });
}

function unimplemented(capability: string): AwpError {
  return new AwpError(ErrorCode.UNIMPLEMENTED, `${capability} is not in force`);
}
