/** What arrives: bytes become frames, and each goes where its kind and the state table say. */

import {
  Abort,
  Body,
  Channel,
  ErrorCode,
  Flag,
  HEADER_SIZE,
  Key,
  KINDS,
  Kind,
  type KindInfo,
  MAJOR,
  workerReceives,
} from './awp_v1.ts';
import { Aborted, AwpError, asList, asNumber, asStrings, asTable, asUint, parseError } from './errors.ts';
import { decodeEnvelope, type Header, parseHeader, splitBody } from './frame.ts';
import { KINDS as HANDLE_KINDS, kindName } from './handle.ts';
import { updateLimits } from './limits.ts';
import { decode, NotMsgpack, type Table, type Value } from './msgpack.ts';
import type { Still } from './objects.ts';
import type { Session } from './session.ts';

/** A frame that the tables let pass. */
export interface Frame extends Header {
  readonly raw: Buffer;
  readonly envelope: Buffer;
  readonly payload: Buffer;
  readonly stills: readonly Still[];
  /** its handles did not arrive */
  readonly lost: boolean;
  /** not to be begun */
  readonly refuse: boolean;
  /** its body is no msgpack */
  readonly broken: boolean;
}

const has = (frame: Header, flag: number): boolean => (frame.flags & flag) !== 0;

/** Unknown frames without OPTIONAL that are answered, before it is enough (AWP-EV-2). */
const MOST_UNKNOWN = 1000;

/** A control frame that is not shaped as its kind demands (AWP-FR-6). */
class Malformed extends Error {}

export class Receiver {
  private readonly s: Session;
  private pieces: Buffer[] = [];
  private size = 0;
  private needed = HEADER_SIZE;
  private unknown = 0;
  /** A frame waits for its handles, and everything behind it. */
  isHeld = false;

  constructor(session: Session) {
    this.s = session;
  }

  /** Bytes that are no frame yet. */
  get kept(): number {
    return this.size;
  }

  /** Bytes have come. */
  feed(data: Buffer): void {
    if (this.s.state === 'closed') return;
    this.pieces.push(data);
    this.size += data.length;
    if (this.size >= this.needed && !this.isHeld) this.goOn();
  }

  /**
   * Take in all frames that are there as a whole, up to one whose handles are not.
   *
   * @param patience false: what has not come by now is lost
   */
  goOn(patience = true): void {
    let data = this.pieces.length === 1 ? (this.pieces[0] as Buffer) : Buffer.concat(this.pieces);
    this.isHeld = false;
    let mayWait = patience;
    this.needed = HEADER_SIZE;
    while (this.s.state !== 'closed' && data.length >= HEADER_SIZE) {
      const header = this.check(data.subarray(0, HEADER_SIZE));
      if (!header) return;
      const end = HEADER_SIZE + header.length;
      this.needed = end;
      if (data.length < end) break;
      const claims = header.nfds > 0 && has(header, Flag.LANE);
      if (claims && this.mustWait(header) && mayWait && !this.s.lane?.has(header.nfds) && !this.s.lane?.isOver) {
        this.isHeld = true;
        break;
      }
      if (claims) mayWait = true; // one loss is not that of the next frame
      this.frame(header, data.subarray(0, HEADER_SIZE), data.subarray(HEADER_SIZE, end));
      data = data.subarray(end);
      this.needed = HEADER_SIZE;
    }
    if (this.s.state === 'closed') data = Buffer.alloc(0);
    this.pieces = data.length > 0 ? [data] : [];
    this.size = data.length;
    this.s.ports.acknowledge();
  }

  /** Look at a header before anything of its body is kept (AWP-FR-4, AWP-FR-5). */
  private check(raw: Buffer): Header | undefined {
    const { s } = this;
    const header = parseHeader(raw);
    if (!header) {
      s.abort(Abort.BAD_SIGNATURE, 'this is not the header of a frame', raw);
    } else if (header.length > s.local.max_frame) {
      s.abort(Abort.FRAME_TOO_LARGE, `${header.length} bytes, ${s.local.max_frame} are allowed`, raw);
    } else if (header.nfds > 0 && (header.nfds > s.local.max_fds || !this.takesHandles())) {
      s.abort(Abort.FD_VIOLATION, 'descriptors where there may be none, or too many', raw);
    } else return header;
    return undefined;
  }

  private takesHandles(): boolean {
    return !['handshake', 'starting'].includes(this.s.state) && this.s.caps.has('handle');
  }

  /** What nobody looks at needs no handles either: they are closed as they come. */
  private mustWait(header: Header): boolean {
    return workerReceives(this.s.state, header.kind).action !== 'ignore';
  }

  /** Take one whole frame, by the table of section 18. */
  private frame(header: Header, raw: Buffer, bytes: Buffer): void {
    const { s } = this;
    const { action, next } = workerReceives(s.state, header.kind);
    const info = KINDS.get(header.kind);
    const claimed = header.nfds > 0 ? this.claim(header) : [];
    const stills = claimed ?? [];
    const word = info?.name ?? `kind ${header.kind}`;
    const drop = (): void => {
      for (const still of stills) still.close();
    };
    const give = (code: number, why: string): void => {
      drop();
      s.abort(code, why, raw);
    };
    if (header.nfds > 0 && info && !info.handles) give(Abort.FD_VIOLATION, `descriptors with ${word}`);
    else if (action === 'ignore') drop();
    else if (action === 'abort') give(Abort.STATE_VIOLATION, `${word} in ${s.state}`);
    else if (!info) {
      drop();
      this.stranger(header);
    } else {
      const wrong = this.misplaced(header, info);
      if (wrong) {
        give(Abort.PROTOCOL_ERROR, `${word} ${wrong}`);
        return;
      }
      const cut = this.cut(info, bytes);
      if (cut.code !== null) {
        give(cut.code, `${word}: ${cut.why}`);
        return;
      }
      s.state = next;
      const refuse = action === 'refuse';
      this.deliver({ ...header, raw, ...cut, stills, lost: claimed === undefined, refuse }, bytes);
    }
  }

  /** The handles of a frame, counted for HANDLE_ACK; undefined: lost (AWP-FD-5). */
  private claim(header: Header): Still[] | undefined {
    // Without LANE they came beside the bytes, where the kernel has closed them (AWP-LN-1).
    const claimed = has(header, Flag.LANE) ? this.s.lane?.claim(header.nfds) : undefined;
    this.s.ports.arrived(claimed !== undefined);
    return claimed;
  }

  private stranger(header: Header): void {
    if (has(header, Flag.OPTIONAL)) return;
    this.unknown += 1;
    const { channel } = header;
    this.s.answer({ kind: Kind.UNIMPLEMENTED, channel, envelope: [header.kind] });
    if (this.unknown > MOST_UNKNOWN) this.s.abort(Abort.LIMIT_EXCEEDED, 'too many unknown frames');
  }

  /** Say what is wrong with flags, capability or channel; null: nothing is. */
  private misplaced(header: Header, info: KindInfo): string | null {
    const { caps } = this.s;
    const inPieces = has(header, Flag.FRAG);
    const isMessage = header.kind === Kind.TELL || header.kind === Kind.CALL || header.kind === Kind.REPLY;
    if (info.capability && !caps.has(info.capability)) return 'needs a capability that is not in force';
    if ((has(header, Flag.MORE) && !inPieces) || (inPieces && !isMessage)) return 'cannot come in fragments like this';
    if (inPieces && !caps.has('frag')) return 'comes in fragments, which are not in force';
    const onZero = header.channel === 0;
    if (info.channel === Channel.ZERO && !onZero) return 'has no channel';
    if (info.channel === Channel.OPTIONAL && onZero === inPieces) return 'has a channel in fragments, and no other';
    if ((info.channel === Channel.OPENS || info.channel === Channel.USES) && onZero) return 'needs a channel';
    return null;
  }

  /** Envelope and payload, or the code of ABORT for what is not two objects. */
  private cut(
    info: KindInfo,
    bytes: Buffer,
  ): { envelope: Buffer; payload: Buffer; broken: boolean; code: number | null; why: string } {
    const none = { envelope: Buffer.of(0xc0), payload: Buffer.of(0xc0), why: '' };
    if (info.body === Body.OPAQUE) return { ...none, broken: false, code: null };
    try {
      return { ...splitBody(bytes), broken: false, code: null, why: '' };
    } catch (error) {
      const why = (error as Error).message;
      if (!(error instanceof NotMsgpack)) return { ...none, broken: true, code: Abort.BAD_LENGTH, why };
      const code = info.body === Body.CONTROL ? Abort.PROTOCOL_ERROR : null;
      return { ...none, broken: true, code, why };
    }
  }

  private deliver(frame: Frame, bytes: Buffer): void {
    const { s } = this;
    switch (frame.kind) {
      case Kind.PING:
        s.answer({ kind: Kind.PONG, channel: frame.channel, body: Buffer.from(bytes) });
        return;
      case Kind.PONG:
        return;
      case Kind.TELL:
      case Kind.CALL:
      case Kind.REPLY:
        s.incoming.take(frame);
        return;
      case Kind.ERROR:
        this.failed(frame);
        return;
      case Kind.UNDELIVERABLE:
        this.undeliverable(frame);
        return;
      default:
        this.control(frame);
    }
  }

  private control(frame: Frame): void {
    try {
      this.controlled(frame);
    } catch (error) {
      for (const still of frame.stills) still.close();
      const word = KINDS.get(frame.kind)?.name;
      this.s.abort(Abort.PROTOCOL_ERROR, `${word}: ${(error as Error).message}`, frame.raw);
    }
  }

  private controlled(frame: Frame): void {
    const { s } = this;
    switch (frame.kind) {
      case Kind.LISTENING:
        if (!s.ports.listening(frame)) throw new Malformed('not shaped as its kind demands');
        break;
      case Kind.CONN:
        if (!s.ports.connections(frame)) throw new Malformed('not shaped as its kind demands');
        break;
      case Kind.WELCOME:
        this.welcome(this.table(frame));
        break;
      case Kind.SETTINGS:
        this.settings(this.table(frame));
        break;
      case Kind.SETTINGS_ACK:
        if (!s.settled()) throw new Malformed('there is no SETTINGS');
        break;
      case Kind.STOP:
        this.stop(this.table(frame));
        break;
      case Kind.GOODBYE:
        this.goodbye(this.table(frame));
        break;
      case Kind.ABORT:
        this.aborted(this.table(frame));
        break;
      case Kind.LISTEN_CLOSE:
        s.ports.closeOne(frame.channel);
        break;
      default:
        this.counted(frame);
    }
  }

  /** Frames of which only the envelope counts. */
  private counted(frame: Frame): void {
    const { s } = this;
    const envelope = asList(decodeEnvelope(frame.envelope));
    if (!envelope || frame.kind === Kind.DOWN) throw new Malformed('not shaped as its kind demands');
    if (frame.kind === Kind.CANCEL) {
      s.incoming.cancel(frame.channel);
      return;
    }
    const n = asUint(envelope[0]);
    if (n === undefined) throw new Malformed('not shaped as its kind demands');
    switch (frame.kind) {
      case Kind.CREDIT:
        if (frame.channel === 0) s.outgoing.credit(n);
        break;
      case Kind.ACK:
        if (n > s.outgoing.sent) throw new Malformed('more than was sent');
        break;
      case Kind.HANDLE_ACK: {
        const lost = asList(envelope[1]);
        if (!lost?.every((it) => asUint(it) !== undefined)) throw new Malformed('not shaped as its kind demands');
        if (!s.outgoing.departed(n)) throw new Malformed('more than was sent');
        break;
      }
      case Kind.UNIMPLEMENTED: {
        const error = new AwpError(ErrorCode.UNIMPLEMENTED, `the primary does not know kind ${n}`);
        if (!s.ports.fail(frame.channel, error)) s.outgoing.answered(frame.channel, null, error);
        break;
      }
    }
  }

  private table(frame: Frame): Table {
    const value = decode(frame.payload, this.s.local.max_depth);
    const table = asTable(value);
    if (!table || value === null) throw new Malformed('not shaped as its kind demands');
    return table;
  }

  // ---- maps ----

  private welcome(table: Table): void {
    const { s } = this;
    const version = asList(table[Key.WELCOME.VERSION]);
    const worker = asUint(table[Key.WELCOME.WORKER]);
    const cluster = table[Key.WELCOME.CLUSTER];
    const caps = asStrings(table[Key.WELCOME.CAPS]);
    const names = asStrings(table[Key.WELCOME.HANDLES]);
    const limits = asTable(table[Key.WELCOME.LIMITS]);
    const isWorker = worker !== undefined && worker > 0 && worker < 2 ** 20;
    const isCluster = cluster instanceof Uint8Array && cluster.length === 16;
    if (!version || !isWorker || !isCluster || !caps || !names || !limits) {
      throw new Malformed('not shaped as its kind demands');
    }
    if (asUint(version[0]) !== MAJOR) {
      s.abort(Abort.VERSION, 'this worker speaks 1.0');
      return;
    }
    const alien = caps.find((name) => !s.caps.has(name));
    if (alien !== undefined) throw new Malformed(`the capability ${alien.slice(0, 40)} was not offered`);
    if (!updateLimits(s.peer, limits) || !this.heartbeat(table)) throw new Malformed('not shaped as its kind demands');
    s.caps = new Set(caps);
    s.takes = new Set(HANDLE_KINDS.filter((kind) => names.includes(kindName(kind))));
    s.is.worker = worker;
    s.is.cluster = cluster;
    const name = table[Key.WELCOME.NAME];
    s.is.name = typeof name === 'string' ? name : '';
    s.is.config = asTable(table[Key.WELCOME.CONFIG]) ?? {};
    s.up.welcomed();
  }

  private heartbeat(table: Table): boolean {
    const value = table[Key.WELCOME.HEARTBEAT] ?? null;
    if (value === null) return true;
    const ms = asNumber(value);
    this.s.is.heartbeat = ms ?? 0;
    return ms !== undefined;
  }

  /** Settings are in force when that is said; a window counts from then on (AWP-SE-2). */
  private settings(table: Table): void {
    const { s } = this;
    const limits = asTable(table[Key.SETTINGS.LIMITS]);
    const level = table[Key.SETTINGS.LOG_LEVEL] ?? null;
    const config = asTable(table[Key.SETTINGS.CONFIG]);
    const isLevel = level === null || asUint(level) !== undefined;
    if (!limits || !config || !isLevel || !updateLimits(s.peer, limits) || !this.heartbeat(table)) {
      throw new Malformed('not shaped as its kind demands');
    }
    if (level !== null) s.is.logLevel = asUint(level) as number;
    s.is.config = { ...s.is.config, ...config };
    s.answer({ kind: Kind.SETTINGS_ACK });
    s.up.configured(table);
    s.outgoing.pump();
  }

  private stop(table: Table): void {
    const deadline = table[Key.STOP.DEADLINE] ?? null;
    const within = deadline === null ? null : asNumber(deadline);
    if (within === undefined) throw new Malformed('not shaped as its kind demands');
    this.s.up.stop(within, reasonOf(table[Key.STOP.REASON]));
  }

  private goodbye(table: Table): void {
    const { s } = this;
    const recv = asUint(table[Key.GOODBYE.RECV]);
    if (recv === undefined || recv > s.outgoing.sent) throw new Malformed('not shaped as its kind demands');
    s.outgoing.failPending('the primary says nothing more');
    s.up.stop(null, reasonOf(table[Key.GOODBYE.REASON]));
  }

  private aborted(table: Table): void {
    const code = asUint(table[Key.ABORT.CODE]);
    if (code === undefined) throw new Malformed('not shaped as its kind demands');
    const detail = table[Key.ABORT.DETAIL];
    this.s.out.clear();
    this.s.close(new Aborted(code, typeof detail === 'string' ? detail : '', false));
  }

  // ---- failures ----

  private failed(frame: Frame): void {
    const error = parseError(this.payloadOf(frame));
    if (!this.s.ports.fail(frame.channel, error)) this.s.outgoing.answered(frame.channel, null, error);
  }

  private undeliverable(frame: Frame): void {
    const { s } = this;
    let envelope: readonly Value[] | undefined;
    try {
      envelope = asList(decodeEnvelope(frame.envelope));
    } catch {
      // a broken body spoils this message alone
    }
    const n = asUint(envelope?.[0]);
    if (frame.broken || !envelope || n === undefined) return;
    if (n === 0 || n > s.outgoing.sent) {
      s.abort(Abort.PROTOCOL_ERROR, 'a message that was never sent is undeliverable', frame.raw);
      return;
    }
    s.up.undeliverable(n, envelope[1] ?? null, parseError(this.payloadOf(frame)));
  }

  private payloadOf(frame: Frame): Value {
    try {
      return frame.broken ? null : decode(frame.payload, this.s.local.max_depth);
    } catch {
      return null;
    }
  }
}

function reasonOf(value: Value): number {
  return Math.min(asUint(value) ?? 0, 255);
}
