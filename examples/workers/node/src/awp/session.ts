/**
 * The protocol without the connection: bytes go in by `Receiver`, frames come out of the outbox, and
 * what arrived is told to `Upper`. It does no input or output, and waits for nothing; so the vectors
 * of the protocol are played to it as they are.
 *
 * `receive.ts` has frames and control kinds as they arrive, `incoming.ts` messages; `outgoing.ts` has
 * messages that leave, `ports.ts` listeners, `lane.ts` the way of handles.
 */

import {
  Abort,
  type Capability,
  Key,
  KINDS,
  Kind,
  MAJOR,
  MINOR,
  type State,
  workerAtEof,
  workerMaySend,
  workerSent,
} from './awp_v1.ts';
import { Aborted, type AwpError, Closed, clip, Lost } from './errors.ts';
import { type Closable, encodeEnvelope, type Item, Outbox } from './frame.ts';
import { KINDS as HANDLE_KINDS, type Handle, kindName } from './handle.ts';
import { type Arrived, Incoming } from './incoming.ts';
import type { Lane } from './lane.ts';
import { announcedLimits, completeLimits, type Limits } from './limits.ts';
import { encode, type Table, type Value } from './msgpack.ts';
import { Outgoing } from './outgoing.ts';
import type { Listener } from './ports.ts';
import { Ports } from './ports.ts';

/** What of the primary's words the session tells. None of it may wait. */
export interface Upper {
  welcomed(): void;
  configured(settings: Table): void;
  /** STOP, or GOODBYE; `within` in milliseconds, null for no limit. */
  stop(within: number | null, reason: number): void;
  /** Where a message goes; an error bounces it. */
  message(message: Arrived): AwpError | null;
  cancelled(message: Arrived): void;
  undeliverable(number: number, to: Value, error: AwpError): void;
  listening(listener: Listener): void;
  connections(listener: Listener): void;
  closed(why: Error): void;
  /** There may be something to write. */
  wake(): void;
}

/** What the primary said of this worker, and what it has said since. */
export interface Welcome {
  worker: number;
  name: string;
  cluster: Uint8Array;
  /** ms between its PINGs; 0: none */
  heartbeat: number;
  config: Table;
  /** the lowest level worth a LOG */
  logLevel: number;
}

const MESSAGES: readonly Capability[] = ['msg', 'call', 'frag', 'ack', 'log'];
/** Those for which there has to be a lane. */
const HANDLES: readonly Capability[] = [
  'handle',
  'handle.send',
  'handle.ack',
  'handle.head',
  'listen.handoff',
  'listen.shared',
];

/** Bytes of answers that a primary may leave unread (AWP-LM-2). */
const MOST_UNREAD = 8 * 1024 * 1024;

/** A frame to be sent. */
export interface Words {
  readonly kind: Kind;
  readonly channel?: number;
  readonly envelope?: readonly Value[] | null;
  readonly payload?: Value;
  /** in place of envelope and payload */
  readonly body?: Buffer;
  readonly flags?: number;
  readonly handles?: readonly Handle[];
  readonly provoked?: boolean;
  readonly written?: () => void;
}

export class Session {
  readonly up: Upper;
  readonly lane: Lane | null;
  state: State = 'handshake';
  /** offered until WELCOME comes, in force from then on */
  caps: Set<string>;
  local: Limits;
  peer: Limits = completeLimits();
  /** kinds of handles that the primary takes */
  takes = new Set<number>();
  readonly is: Welcome = {
    worker: 0,
    name: '',
    cluster: new Uint8Array(),
    heartbeat: 0,
    config: {},
    logLevel: 0,
  };
  readonly out = new Outbox<Handle>();
  readonly incoming = new Incoming(this);
  readonly outgoing = new Outgoing(this);
  readonly ports = new Ports(this);
  ended: Error | null = null;
  /** Bodies tell 2.0 from 2, see `Float`. */
  keepFloats = false;

  /** SETTINGS of ours that are not acknowledged. */
  private readonly asked: Limits[] = [];
  private lastChannel = -1; // so that the first is 1

  constructor(up: Upper, limits: Partial<Limits>, lane: Lane | null) {
    this.up = up;
    this.lane = lane;
    this.local = completeLimits(limits);
    this.caps = new Set(lane ? [...MESSAGES, ...HANDLES] : MESSAGES);
  }

  // ---- sending ----

  /** Queue a frame, unless the state forbids it (section 18): then it is dropped. */
  say(words: Words): boolean {
    const { kind, channel = 0, handles = [], flags = 0, provoked = false, written } = words;
    if (!workerMaySend(this.state, kind)) {
      closeEach(handles);
      return false;
    }
    const body = words.body ?? Buffer.concat([encodeEnvelope(words.envelope ?? null), encode([words.payload])]);
    const item: Item<Handle> = { kind, channel, flags, handles, body, rest: null, provoked, written };
    // CANCEL does not overtake the frame that opened its channel (AWP-MS-4).
    this.out.push(item, kind !== Kind.CANCEL && (KINDS.get(kind)?.urgent ?? false));
    this.state = workerSent(this.state, kind);
    this.up.wake();
    return true;
  }

  /** `say` for frames that the primary can provoke at will; what it does not read is bounded. */
  answer(words: Words): void {
    this.say({ ...words, provoked: true });
    if (this.out.provoked > MOST_UNREAD && this.state !== 'closed') {
      this.abort(Abort.LIMIT_EXCEEDED, 'the primary does not read the answers');
    }
  }

  /** A free channel (AWP-CH-1, AWP-CH-4). */
  open(): number {
    do {
      this.lastChannel = this.lastChannel >= 2 ** 32 - 1 ? 1 : this.lastChannel + 2;
    } while (this.outgoing.uses(this.lastChannel) || this.ports.byChannel.has(this.lastChannel));
    return this.lastChannel;
  }

  /** The next channel is to be this one, or the next free one. */
  openNext(channel: number): void {
    this.lastChannel = channel - 2;
  }

  // ---- bring-up ----

  hello(more: Table = {}): void {
    const payload: Record<string, Value> = {
      [Key.HELLO.VERSIONS]: [[MAJOR, MINOR]],
      [Key.HELLO.CAPS]: [...this.caps],
      [Key.HELLO.LIMITS]: announcedLimits(this.local),
      ...more,
    };
    if (this.lane) payload[Key.HELLO.HANDLES] = HANDLE_KINDS.map(kindName);
    this.say({ kind: Kind.HELLO, payload });
  }

  /**
   * Change what this side can receive. What is raised holds at once, as the primary may go by it as
   * soon as it hears of it; the window, and what is lowered, when it says so (AWP-SE-2).
   */
  announce(limits: Partial<Limits>): boolean {
    const asked = completeLimits({ ...(this.asked.at(-1) ?? this.local), ...limits });
    if (!this.say({ kind: Kind.SETTINGS, payload: { [Key.SETTINGS.LIMITS]: asked } })) return false;
    this.asked.push(asked);
    this.raise(asked);
    return true;
  }

  private raise(limits: Limits): void {
    for (const name of Object.keys(limits) as (keyof Limits)[]) {
      if (name !== 'window') this.local[name] = Math.max(this.local[name], limits[name]);
    }
  }

  /** SETTINGS_ACK; false: there is no SETTINGS. */
  settled(): boolean {
    const limits = this.asked.shift();
    if (!limits) return false;
    this.local = { ...limits };
    for (const later of this.asked) this.raise(later); // which may be in force there already
    return true;
  }

  // ---- the end ----

  /** Say so; after it nothing is sent (AWP-ST-2, AWP-ST-5). */
  goodbye(reason = 0): void {
    this.incoming.dropPartial();
    this.out.clearLarge(); // they would never end
    this.incoming.flush();
    this.ports.acknowledge();
    const recv = this.incoming.received;
    this.say({ kind: Kind.GOODBYE, payload: { [Key.GOODBYE.REASON]: reason, [Key.GOODBYE.RECV]: recv } });
  }

  /** Give the connection up: nothing goes out any more but this. */
  abort(code: number, detail: string, raw?: Buffer): void {
    if (this.state === 'closed') return;
    const payload: Record<string, Value> = { [Key.ABORT.CODE]: code, [Key.ABORT.DETAIL]: clip(detail) };
    if (raw?.length === 16) payload[Key.ABORT.FRAME] = raw;
    this.out.clear();
    this.say({ kind: Kind.ABORT, payload });
    this.close(new Aborted(code, detail, true));
  }

  /** The stream has ended. */
  eof(): void {
    const { action } = workerAtEof(this.state);
    if (action === 'abort') this.close(new Lost('the primary is gone'));
    else if (action === 'deliver') this.close(new Closed('the connection is closed'));
  }

  /** End everything that was opened on the connection. */
  close(why: Error): void {
    if (this.ended) return;
    this.state = 'closed';
    this.ended = why;
    this.incoming.close(why);
    this.outgoing.close(why);
    this.ports.close(why);
    this.lane?.close();
    this.up.closed(why);
    this.up.wake();
  }
}

function closeEach(handles: readonly Closable[]): void {
  for (const handle of handles) handle.close();
}
