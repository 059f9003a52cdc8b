/** What a program gets out of its mailbox. */

import { ErrorCode, Meta } from './awp_v1.ts';
import { AwpError, asError, asNumber, asUint } from './errors.ts';
import { closeAll } from './frame.ts';
import type { Handle } from './handle.ts';
import type { Arrived } from './incoming.ts';
import type { Table, Value } from './msgpack.ts';

/** What of the worker a message needs. */
export interface Answering {
  reply(message: Arrived, body: Value): Promise<void>;
  fail(message: Arrived, error: AwpError): void;
}

/** Timers of Node go no further. */
const LONGEST = 2 ** 31 - 1;

/**
 * Somebody tells something, or calls and waits. Whoever has the message closes it when done; a call
 * that nobody has answered then is answered for him.
 */
export class Message {
  readonly body: Value;
  /** All that came along, also those in the body. */
  readonly handles: readonly Handle[];
  /** Whom an answer goes to that is a message of its own: an aid, or null for the primary. */
  readonly from: number | null;
  /** The meta map, see section 11. */
  readonly meta: Table;
  /** An answer is waited for. */
  readonly isCall: boolean;
  readonly arrived: Arrived;

  private readonly worker: Answering;
  private readonly expires: number | null;
  private controller: AbortController | null = null;
  private timer: NodeJS.Timeout | null = null;
  private over: AwpError | null = null;

  constructor(worker: Answering, arrived: Arrived) {
    this.worker = worker;
    this.arrived = arrived;
    this.body = arrived.body;
    this.handles = arrived.handles;
    this.from = asUint(arrived.from) ?? null;
    this.meta = arrived.meta;
    this.isCall = arrived.isCall;
    const ttl = asNumber(arrived.meta[Meta.MESSAGE.TTL]);
    this.expires = this.isCall && ttl !== undefined ? performance.now() + ttl : null;
  }

  /** Its caller does not wait any more, as far as time goes. */
  get isExpired(): boolean {
    return this.expires !== null && performance.now() >= this.expires;
  }

  /**
   * Aborts when the caller gives up, when its time is over, when the call is answered and when the
   * connection ends. The reason is an `AwpError` that says which.
   */
  get signal(): AbortSignal {
    if (!this.controller) {
      this.controller = new AbortController();
      if (this.over) this.controller.abort(this.over);
      else if (this.expires !== null) {
        const ms = Math.min(Math.max(0, this.expires - performance.now()), LONGEST);
        const late = new AwpError(ErrorCode.DEADLINE_EXCEEDED, 'the time for an answer is over');
        this.timer = setTimeout(() => this.end(late), ms);
      }
    }
    return this.controller.signal;
  }

  /** No more is to be done for it. */
  end(why: AwpError): void {
    if (this.over) return;
    this.over = why;
    if (this.timer) clearTimeout(this.timer);
    this.controller?.abort(why);
  }

  /**
   * Answer the call; a TELL wants no answer, and gets none. Handles in the body are used up, whether
   * it succeeds or not. Waits while the primary does not read.
   *
   * @throws AwpError the answer could not be sent, which the caller is told
   */
  async reply(body: Value = null): Promise<void> {
    if (!this.isCall) return;
    try {
      await this.worker.reply(this.arrived, body);
    } finally {
      this.end(new AwpError(ErrorCode.NOT_HANDLED, 'answered'));
    }
  }

  /** Answer the call with an error: an `AwpError` as it is, others as failures of the application. */
  fail(thrown: unknown): void {
    const error = asError(thrown);
    if (this.isCall) this.worker.fail(this.arrived, error);
    this.end(error);
  }

  /** Close the handles that nobody has taken; a call without an answer gets `not_handled` (AWP-CA-5). */
  close(): void {
    closeAll(this.handles);
    this.fail(new AwpError(ErrorCode.NOT_HANDLED, 'nobody answers this'));
  }
}
