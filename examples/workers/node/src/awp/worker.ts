/** A worker: the session, its connection, and what programs use. */

import { Buffer } from 'node:buffer';
import type net from 'node:net';
import { ErrorCode, Flag, Key, Kind } from './awp_v1.ts';
import { type CallOptions, type Config, type ListenRequest, mark } from './config.ts';
import { AwpError, Closed, clip, errorTable } from './errors.ts';
import { closeAll } from './frame.ts';
import type { Handle } from './handle.ts';
import type { Arrived } from './incoming.ts';
import type { Lane } from './lane.ts';
import type { Limits } from './limits.ts';
import { Message } from './message.ts';
import { encode, type Table, type Value } from './msgpack.ts';
import { fdOf } from './objects.ts';
import type { Answer, Leaving } from './outgoing.ts';
import { Port } from './port.ts';
import type { Listener } from './ports.ts';
import { Session, type Upper, type Welcome } from './session.ts';
import { Transport } from './transport.ts';

/** For how long credit and acknowledgements may gather, in ms. */
const TICK = 20;
/** For how long a primary is waited for that says nothing, in ms. */
const PATIENCE = 5000;

export class Worker implements Upper {
  private readonly config: Config;
  private readonly session: Session;
  private readonly transport: Transport;
  private readonly mailbox: Message[] = [];
  private readonly open = new Map<Arrived, Message>();
  private waiters: (() => void)[] = [];
  private readonly timers = new Set<NodeJS.Timeout>();
  private tick: NodeJS.Timeout | null = null;
  private isShut = false;
  private unlogged = 0;
  private hard = Number.POSITIVE_INFINITY;
  private readonly hurryUp = new AbortController();
  private readonly marks = { welcome: mark(), stopping: mark(), ended: mark() };

  constructor(config: Config, socket: net.Socket, lane: Lane | null, hello: Table) {
    this.config = config;
    this.session = new Session(this, config.limits ?? {}, lane);
    this.session.keepFloats = config.keepFloats ?? false;
    this.transport = new Transport(this.session, socket, lane);
    this.session.hello({
      ...hello,
      [Key.HELLO.PID]: process.pid,
      [Key.HELLO.IMPL]: {
        name: config.name,
        version: config.version ?? null,
        lang: 'js',
        runtime: `node ${process.version}`,
        os: process.platform,
      },
    });
  }

  // ---- what programs use ----

  /** WELCOME has come. @throws Error the connection has ended before */
  async introduced(): Promise<Welcome> {
    await Promise.race([this.marks.welcome.promise, this.marks.ended.promise]);
    if (this.session.ended) throw this.session.ended;
    return this.session.is;
  }

  /** What the primary said of this worker, and what it has said since. */
  get welcome(): Readonly<Welcome> {
    return this.session.is;
  }

  /** Say that the worker is up: from now on it is sent messages and connections. */
  ready(info: Table = {}): void {
    this.session.say({ kind: Kind.READY, payload: { [Key.READY.INFO]: info } });
  }

  /** Resolves when all that was said so far is written, or can be no more. */
  async flushed(): Promise<void> {
    while (!this.session.ended && !this.session.out.isEmpty) {
      await Promise.race([this.transport.written(), this.ended]);
    }
  }

  /** Say that the application calls itself ready. */
  serving(info: Table = {}): void {
    this.session.say({ kind: Kind.SERVING, payload: { [Key.SERVING.INFO]: info } });
  }

  /** Ask the primary to be told to stop. */
  leave(reason = 0): void {
    this.session.say({ kind: Kind.LEAVE, payload: { [Key.LEAVE.REASON]: reason } });
  }

  /** Change what this worker can receive; false: it is too late for that. */
  announce(limits: Partial<Limits>): boolean {
    return this.session.announce(limits);
  }

  /** Resolves when the primary has told the worker to stop, or the connection has ended. */
  get stopping(): Promise<void> {
    return this.marks.stopping.promise;
  }

  get isStopping(): boolean {
    return this.marks.stopping.isSet;
  }

  /** Aborts when the time to drain is almost over. */
  get hurry(): AbortSignal {
    return this.hurryUp.signal;
  }

  /** Resolves when the connection has ended. */
  get ended(): Promise<void> {
    return this.marks.ended.promise;
  }

  /** Why the connection has ended, `Closed` if in good order; null while it lives. */
  get end(): Error | null {
    return this.session.ended;
  }

  /** Take messages out of the mailbox, until STOP has come and it is empty, or the connection ends. */
  async *messages(): AsyncGenerator<Message, void, void> {
    for (;;) {
      const message = this.mailbox.shift();
      if (message) {
        this.session.incoming.release(message.arrived.cost);
        if (message.isExpired) {
          closeAll(message.handles);
          message.fail(new AwpError(ErrorCode.DEADLINE_EXCEEDED, 'nobody took it in time'));
        } else yield message;
      } else if (this.session.ended || (this.isStopping && !this.session.incoming.hasPartial)) return;
      else await new Promise<void>((resolve) => this.waiters.push(resolve));
    }
  }

  /**
   * Send a message. Waits for credit, not for anybody to read. Handles in the body are used up.
   *
   * @param to an aid, the name of a worker, or null for the primary
   * @throws AwpError it can never be sent
   */
  async tell(to: number | string | null, body: Value): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const begun = (error: AwpError | null): void => (error ? reject(error) : resolve());
      this.send(Kind.TELL, to, body, null, begun);
    });
  }

  /**
   * Send a message and wait for its answer. A caller that gives up tells the callee so.
   *
   * @throws AwpError the answer is an error, or none will come
   */
  call(to: number | string | null, body: Value, options: CallOptions = {}): Promise<Answer> {
    const { signal, timeout } = options;
    signal?.throwIfAborted();
    return new Promise<Answer>((resolve, reject) => {
      let message: Leaving | null = null;
      let timer: NodeJS.Timeout | null = null;
      let isOver = false;
      const finish = (): void => {
        isOver = true;
        if (timer) this.forget(timer);
        signal?.removeEventListener('abort', giveUp);
      };
      const giveUp = (): void => {
        finish();
        if (message) this.session.outgoing.withdraw(message);
        reject(signal?.aborted ? signal.reason : new AwpError(ErrorCode.DEADLINE_EXCEEDED, 'no answer in time'));
      };
      const settle = (answer: Answer | null, error: AwpError | null): void => {
        if (isOver && answer) closeAll(answer.handles); // nobody waits any more
        finish();
        if (answer) resolve(answer);
        else reject(error);
      };
      const begun = (error: AwpError | null): void => {
        if (error) settle(null, error);
      };
      message = this.send(Kind.CALL, to, body, { timeout: timeout ?? null, settle }, begun);
      if (!message || isOver) return;
      if (timeout !== undefined) timer = this.after(timeout, giveUp);
      signal?.addEventListener('abort', giveUp, { once: true });
    });
  }

  private send(
    kind: Leaving['kind'],
    to: number | string | null,
    body: Value,
    call: { timeout: number | null; settle(answer: Answer | null, error: AwpError | null): void } | null,
    begun: (error: AwpError | null) => void,
  ): Leaving | null {
    try {
      const { payload, handles } = this.pack(body);
      const expires = call && call.timeout !== null ? performance.now() + call.timeout : null;
      const pending = call && { channel: 0, settle: call.settle };
      const target = to === 0 ? null : to;
      const message: Leaving = { kind, to: target, payload, handles, expires, begun, call: pending, cost: 0 };
      const wrong = this.session.outgoing.submit(message);
      if (!wrong) return message;
      begun(wrong);
    } catch (error) {
      begun(new AwpError(ErrorCode.BAD_PAYLOAD, (error as Error).message));
    }
    return null;
  }

  /** Encode a value, and take the handles in it from whoever had them. */
  private pack(body: Value): { payload: Buffer; handles: Handle[] } {
    const found: Handle[] = [];
    try {
      const payload = Buffer.from(encode([body], this.session.peer.max_depth, found));
      return { payload, handles: found.map((handle) => handle.move()) };
    } catch (error) {
      closeAll(found);
      throw error;
    }
  }

  /**
   * Ask for a port that workers share, and wait until it is bound.
   *
   * @param onConnection gets each connection, and sees to its errors
   * @throws AwpError the primary refused, or the worker is stopping
   */
  async listen(request: ListenRequest, onConnection: (socket: net.Socket) => void = refuse): Promise<Port> {
    return this.listenRaw({ modes: [request.transport === 'udp' ? 'shared' : 'handoff'], ...request }, onConnection);
  }

  /** `listen` with the map of LISTEN as it is. */
  listenRaw(request: Table, onConnection: (socket: net.Socket) => void = refuse): Promise<Port> {
    const listener = this.session.ports.listen(request);
    return new Promise((resolve, reject) => {
      listener.onSettled = () => {
        if (listener.error) reject(listener.error);
        else resolve(new Port(this.session, listener, onConnection));
      };
    });
  }

  /**
   * Send a log record to the primary, which logs it: 10 is debug, 20 info, 30 warning, 40 error, 50
   * critical. One for which there is no room is dropped (AWP-LO-2).
   */
  log(level: number, logger: string, text: string, attributes: Table = {}): void {
    const { session } = this;
    if (!session.caps.has('log') || level < session.is.logLevel) return;
    if (session.out.size > 1024 * 1024) {
      this.unlogged += 1;
      return;
    }
    const dropped = this.unlogged;
    this.unlogged = 0;
    if (dropped > 0) this.record(30, 'awp', `${dropped} log records were dropped: the primary did not read`, {});
    this.record(level, logger, text, attributes);
  }

  private record(level: number, logger: string, text: string, attributes: Table): void {
    const payload: Value[] = [clip(text)];
    try {
      if (Object.keys(attributes).length > 0 && encode([attributes], 63).length < 16384) payload.push(attributes);
    } catch {
      // what cannot be sent is left out
    }
    const envelope = [Math.min(Math.max(0, Math.trunc(level)), 255), Date.now() / 1000, clip(logger)];
    this.session.say({ kind: Kind.LOG, flags: Flag.OPTIONAL, envelope, payload });
  }

  /** Say why the worker is about to end. */
  explain(error: AwpError): void {
    this.session.say({ kind: Kind.EXIT_INFO, payload: errorTable(error) });
  }

  /** Answer what is open, say good-bye, and wait until the connection has ended. */
  async close(): Promise<void> {
    const { session } = this;
    for (const listener of [...session.ports.byChannel.values()]) {
      session.ports.give(listener, new Closed('the port is closed'));
    }
    this.abandon();
    this.after(PATIENCE, () => session.close(new Closed('the primary says nothing')));
    if (session.state !== 'closing') await this.flushed(); // what was promised is sent first
    session.goodbye();
    await this.ended;
    await this.transport.closed;
  }

  /** The descriptor of the connection, for who watches it; -1: it is closed. */
  get fd(): number {
    return fdOf(this.transport.socket);
  }

  // ---- what messages use ----

  async reply(arrived: Arrived, body: Value): Promise<void> {
    this.open.delete(arrived);
    let packed: { payload: Buffer; handles: Handle[] };
    try {
      packed = this.pack(body);
    } catch (error) {
      const wrong = new AwpError(ErrorCode.INTERNAL, (error as Error).message);
      this.session.outgoing.fail(arrived, wrong);
      throw wrong;
    }
    while (!this.session.ended && !this.session.outgoing.mayAnswer(packed.handles.length)) {
      await Promise.race([this.transport.written(), this.ended]);
    }
    const wrong = this.session.outgoing.reply(arrived, packed.payload, packed.handles);
    if (wrong) throw wrong;
  }

  fail(arrived: Arrived, error: AwpError): void {
    this.open.delete(arrived);
    this.session.outgoing.fail(arrived, error);
  }

  // ---- what the session tells ----

  wake(): void {
    this.transport?.wake();
    if (this.session?.incoming.isGathered && !this.tick && !this.session.ended) {
      this.tick = setTimeout(() => {
        this.tick = null;
        if (!this.session.ended) this.session.incoming.flush();
      }, TICK);
    }
  }

  welcomed(): void {
    this.marks.welcome.set();
  }

  configured(settings: Table): void {
    this.config.onSettings?.(settings);
  }

  /** STOP: what was not begun goes back, and what is begun has so long. */
  stop(within: number | null): void {
    const { ports } = this.session;
    for (const listener of [...ports.byChannel.values()]) {
      listener.rejectWaiting();
      ports.give(listener, new AwpError(ErrorCode.STOPPING, 'the worker is stopping'));
    }
    this.marks.stopping.set();
    this.signalAll();
    if (within === null) return;
    // A fifth of the time is for what comes when patience ends.
    const left = within - Math.min(within / 5, 1000);
    if (performance.now() + left >= this.hard) return;
    this.hard = performance.now() + left;
    this.after(left, () => {
      this.hurryUp.abort(new AwpError(ErrorCode.STOPPING, 'the worker is stopping'));
      this.after(Math.min(within / 10, 500), () => {
        this.abandon();
        this.session.goodbye();
      });
    });
  }

  message(arrived: Arrived): AwpError | null {
    const { to } = arrived;
    const { worker, name } = this.session.is;
    const isMine = to === null || to === name || to === worker * 2 ** 32;
    if (!isMine) return new AwpError(ErrorCode.NO_SUCH_ACTOR, `nobody here is ${String(to)}`);
    if (this.isShut) return new AwpError(ErrorCode.STOPPING, 'the worker is stopping');
    const message = new Message(this, arrived);
    if (arrived.isCall) this.open.set(arrived, message);
    this.mailbox.push(message);
    this.signalAll();
    return null;
  }

  /** Tell whoever has the call; one that nobody has begun is answered at once. */
  cancelled(arrived: Arrived): void {
    const message = this.open.get(arrived);
    if (!message) return;
    const why = new AwpError(ErrorCode.CANCELLED, 'the caller gave up');
    const at = this.mailbox.indexOf(message);
    if (at < 0) message.end(why);
    else {
      this.mailbox.splice(at, 1);
      closeAll(message.handles);
      this.session.incoming.release(arrived.cost);
      message.fail(why);
    }
  }

  undeliverable(number: number, to: Value, error: AwpError): void {
    this.config.onUndeliverable?.(number, to, error);
  }

  listening(_listener: Listener): void {}

  connections(listener: Listener): void {
    listener.onWaiting();
  }

  /** The end of the connection, and of all that waits for it. */
  closed(why: Error): void {
    for (const message of this.mailbox.splice(0)) closeAll(message.handles);
    for (const message of [...this.open.values()]) message.end(new AwpError(ErrorCode.CONNECTION_LOST, why.message));
    this.open.clear();
    for (const timer of this.timers) clearTimeout(timer);
    if (this.tick) clearTimeout(this.tick);
    this.marks.stopping.set();
    this.marks.ended.set();
    this.hurryUp.abort(why);
    this.signalAll();
  }

  // ---- odds and ends ----

  /** Answer all that is open: that it was not begun is said of what is in the mailbox alone. */
  private abandon(): void {
    this.isShut = true;
    for (const message of this.mailbox.splice(0)) {
      closeAll(message.handles);
      this.session.incoming.release(message.arrived.cost);
      message.fail(new AwpError(ErrorCode.STOPPING, 'the worker is stopping'));
    }
    for (const message of [...this.open.values()]) {
      message.fail(new AwpError(ErrorCode.NOT_HANDLED, 'the worker is stopping, and was not done'));
    }
  }

  private signalAll(): void {
    for (const resolve of this.waiters.splice(0)) resolve();
  }

  private after(ms: number, act: () => void): NodeJS.Timeout {
    const timer = setTimeout(
      () => {
        this.timers.delete(timer);
        if (!this.session.ended) act();
      },
      Math.min(ms, 2 ** 31 - 1),
    );
    this.timers.add(timer);
    return timer;
  }

  private forget(timer: NodeJS.Timeout): void {
    clearTimeout(timer);
    this.timers.delete(timer);
  }
}

function refuse(socket: net.Socket): void {
  socket.destroy();
}
