/** Ports that workers share: listeners, and the connections that are handed over (section 17). */

import { Abort, Envelope, ErrorCode, Handle as HandleKind, Key, Kind, workerMaySend } from './awp_v1.ts';
import { AwpError, asList, asStrings, asTable, asUint } from './errors.ts';
import { closeAll, decodeEnvelope } from './frame.ts';
import { Handle, parseEntry, verifyAll } from './handle.ts';
import { decode, encode, type Table, type Value } from './msgpack.ts';
import type { Frame } from './receive.ts';
import type { Session } from './session.ts';

/** A connection that was handed over and that nobody has touched. */
interface Waiting {
  readonly number: number;
  readonly handle: Handle;
}

/** A port. `worker.ts` gives it to programs under the name `Port`. */
export class Listener {
  readonly channel: number;
  private readonly s: Session;
  private readonly modes: readonly string[] | null;
  mode = '';
  address: Value = null;
  data: Value = null;
  isUp = false;
  /** in mode shared: the socket, until somebody takes it */
  shared: Handle | null = null;
  /** why it has ended */
  error: Error | null = null;
  /** called once: LISTENING or ERROR has come */
  onSettled: () => void = () => {};
  onEnded: () => void = () => {};
  /** called when a connection waits */
  onWaiting: () => void = () => {};

  /** connections that may still be handed over */
  credit: number;
  /** the number of the next */
  next = 1;
  waiting: Waiting[] = [];
  private readonly rejected: number[] = [];
  /** connections that were taken and are closed, and those of them that nobody saw */
  private closed = 0;
  private dropped = 0;

  constructor(session: Session, channel: number, request: Table) {
    this.s = session;
    this.channel = channel;
    // What the request says after a journey by msgpack, as the primary will have it.
    const said = asTable(decode(encode([request]))) ?? {};
    const modes = said[Key.LISTEN.MODES] ?? null;
    this.modes = modes === null ? null : (asStrings(modes) ?? []);
    this.credit = asUint(said[Key.LISTEN.CREDIT]) ?? 1;
  }

  /** Whether this mode was asked for, and comes with what it needs (AWP-LI-5). */
  mayBe(mode: string, handles: number): boolean {
    if (this.modes !== null && !this.modes.includes(mode)) return false;
    if (mode === 'handoff') return handles === 0 && this.s.caps.has('listen.handoff');
    return mode === 'shared' && handles === 1 && this.s.caps.has('listen.shared');
  }

  /** Take the oldest that waits; `then` is called when CONN_REPLY is written (AWP-LI-2). */
  accept(then: (handle: Handle) => void): boolean {
    const first = this.waiting.shift();
    if (!first) return false;
    // Those behind it, if any, were turned down.
    const upto = this.waiting.length > 0 ? first.number : this.next - 1;
    if (!this.reply(upto, () => then(first.handle))) first.handle.close();
    return true;
  }

  /** Turn a connection down; while the worker goes on, it asks for another in its place. */
  turnDown(number: number): void {
    this.rejected.push(number);
    if (this.s.state === 'active') this.more(1);
  }

  /** Speak of all connections up to this one: taken, but for those that were turned down. */
  reply(upto: number, written?: () => void): boolean {
    const rejected = this.rejected.splice(0);
    const later = rejected.filter((number) => number > upto);
    const now = rejected.filter((number) => number <= upto);
    this.rejected.push(...later);
    const envelope = [upto, now.length > 0 ? now : null];
    const { channel } = this;
    const words = { kind: Kind.CONN_REPLY, channel, envelope, provoked: true };
    return this.s.say(written ? { ...words, written } : words);
  }

  /** Give credit for n more, and say how many are closed. */
  private more(n: number): void {
    if (this.mode !== 'handoff' || this.error) return;
    this.credit += n;
    const envelope = [n, this.closed, this.dropped > 0 ? this.dropped : null];
    this.s.say({ kind: Kind.CONN_CREDIT, channel: this.channel, envelope });
  }

  /** A connection that was taken is closed. */
  release(wasSeen = true): void {
    this.closed += 1;
    if (!wasSeen) this.dropped += 1;
    this.more(this.s.state === 'active' ? 1 : 0);
  }

  /** Give everything back that nobody has taken (AWP-ST-1). */
  rejectWaiting(): void {
    const waiting = this.waiting.splice(0);
    for (const { number, handle } of waiting) {
      handle.close();
      this.turnDown(number);
    }
    if (waiting.length > 0) this.reply(this.next - 1);
  }

  /** The end. What waits is closed: the primary has a copy still. */
  end(why: Error): void {
    if (this.error) return;
    this.error = why;
    for (const { handle } of this.waiting.splice(0)) handle.close();
    this.shared?.close();
    if (this.isUp) this.onEnded();
    else this.onSettled();
  }
}

export class Ports {
  private readonly s: Session;
  readonly byChannel = new Map<number, Listener>();
  /** frames with handles that have arrived, for HANDLE_ACK (AWP-HA-4) */
  private frames = 0;
  private acknowledged = 0;
  private lost: number[] = [];

  constructor(session: Session) {
    this.s = session;
  }

  /** Send LISTEN with this map as it is. */
  listen(request: Table): Listener {
    const { s } = this;
    if (s.ended) throw new AwpError(ErrorCode.CONNECTION_LOST, s.ended.message);
    if (!workerMaySend(s.state, Kind.LISTEN)) throw new AwpError(ErrorCode.REFUSED, 'the worker is stopping');
    const body = encode([null, request]); // which may throw, before anything is opened
    const listener = new Listener(s, s.open(), request);
    this.byChannel.set(listener.channel, listener);
    s.say({ kind: Kind.LISTEN, channel: listener.channel, body });
    return listener;
  }

  /** The worker is done with a port. */
  give(listener: Listener, why: Error): void {
    const { channel } = listener;
    if (this.byChannel.get(channel) === listener) {
      this.byChannel.delete(channel);
      this.s.say({ kind: Kind.LISTEN_CLOSE, channel });
    }
    listener.end(why);
  }

  // ---- what arrives ----

  /** LISTENING; false: malformed. */
  listening(frame: Frame): boolean {
    const listener = this.byChannel.get(frame.channel);
    if (!listener) {
      for (const still of frame.stills) still.close(); // it crossed our LISTEN_CLOSE
      return true;
    }
    const entries = asList(asList(decodeEnvelope(frame.envelope))?.[Envelope.LISTENING.HANDLES]);
    const table = asTable(decode(frame.payload, this.s.local.max_depth));
    const mode = table?.[Key.LISTENING.MODE];
    if (!entries || !table || typeof mode !== 'string' || listener.isUp || entries.length !== frame.nfds) return false;
    if (!listener.mayBe(mode, frame.nfds)) return false;
    const handles = this.s.incoming.readHandles(entries, frame);
    const wrong = handles instanceof AwpError ? handles : unusable(handles);
    if (handles instanceof AwpError || wrong) {
      if (!(handles instanceof AwpError)) closeAll(handles);
      this.fail(frame.channel, wrong as AwpError); // as if it were an ERROR (AWP-FD-5)
      return true;
    }
    listener.mode = mode;
    listener.address = table[Key.LISTENING.ADDRESS] ?? null;
    listener.data = table[Key.LISTENING.DATA] ?? null;
    listener.shared = handles[0] ?? null;
    listener.isUp = true;
    listener.onSettled();
    this.s.up.listening(listener);
    return true;
  }

  /** CONN; false: malformed. */
  connections(frame: Frame): boolean {
    const envelope = asList(decodeEnvelope(frame.envelope));
    const first = asUint(envelope?.[Envelope.CONN.FIRST]);
    const entries = asList(envelope?.[Envelope.CONN.HANDLES]);
    const meta = asTable(envelope?.[Envelope.CONN.META]);
    if (!first || !entries || !meta || entries.length !== frame.nfds || entries.length === 0) return false;
    const listener = this.byChannel.get(frame.channel);
    if (listener && listener.next !== first) return false;
    const drop = (from = 0): void => {
      for (const still of frame.stills.slice(from)) still.close();
    };
    if (!listener?.isUp) {
      drop();
      const rejected = entries.map((_, i) => first + i);
      const upto = first + entries.length - 1;
      this.s.answer({ kind: Kind.CONN_REPLY, channel: frame.channel, envelope: [upto, rejected] });
      return true;
    }
    if (entries.length > listener.credit) {
      drop();
      this.s.abort(Abort.FLOW_VIOLATION, `${entries.length} connections, ${listener.credit} are allowed`, frame.raw);
      return true;
    }
    const found = entries.map((entry) => parseEntry(entry, this.s.caps.has('handle.head')));
    if (found.includes(undefined)) return false;
    listener.credit -= entries.length;
    listener.next += entries.length;
    entries.forEach((_, i) => {
      const still = frame.stills[i];
      const handle = still && Handle.arrived(found[i]?.kind ?? 0, found[i]?.meta ?? {}, still);
      if (handle && !frame.refuse && isConnection(handle)) {
        listener.waiting.push({ number: first + i, handle });
      } else {
        handle?.close();
        listener.turnDown(first + i);
      }
    });
    if (listener.waiting.length === 0) listener.reply(listener.next - 1);
    else this.s.up.connections(listener);
    return true;
  }

  /** An error ends a listener; false: there is none on that channel. */
  fail(channel: number, error: AwpError): boolean {
    const listener = this.byChannel.get(channel);
    this.byChannel.delete(channel);
    listener?.end(error);
    return listener !== undefined;
  }

  /** LISTEN_CLOSE of the primary. */
  closeOne(channel: number): void {
    this.fail(channel, new AwpError(ErrorCode.STOPPING, 'the primary has closed the port'));
  }

  // ---- the books of frames with handles ----

  arrived(isWhole: boolean): void {
    this.frames += 1;
    if (!isWhole) this.lost.push(this.frames);
  }

  acknowledge(): void {
    if (this.acknowledged === this.frames) return;
    this.acknowledged = this.frames;
    const lost = this.lost.splice(0);
    if (!this.s.caps.has('handle.ack')) return;
    this.s.say({ kind: Kind.HANDLE_ACK, envelope: [this.frames, lost.length > 0 ? lost : null] });
  }

  close(why: Error): void {
    const listeners = [...this.byChannel.values()];
    this.byChannel.clear();
    for (const listener of listeners) listener.end(why);
  }
}

/** What mode shared cannot be served with. */
function unusable(handles: readonly Handle[]): AwpError | null {
  const kinds: readonly number[] = [HandleKind.TCP_LISTENER, HandleKind.UNIX_LISTENER, HandleKind.UDP_SOCKET];
  const wrong = verifyAll(handles);
  if (wrong || handles.every(({ kind }) => kinds.includes(kind))) return wrong;
  return new AwpError(ErrorCode.UNSUPPORTED_HANDLE, 'this is nothing to listen on');
}

function isConnection(handle: Handle): boolean {
  const isStream = handle.kind === HandleKind.TCP_SOCKET || handle.kind === HandleKind.UNIX_STREAM;
  return isStream && verifyAll([handle]) === null;
}
