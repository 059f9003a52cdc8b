/** The connection as Node has it: bytes in, bytes out, and the handles of the lane with their frames. */

import type net from 'node:net';
import { closeAll } from './frame.ts';
import type { Lane } from './lane.ts';
import { Receiver } from './receive.ts';
import type { Session } from './session.ts';

/** For how long a frame waits for its handles, in ms (AWP-LN-3). */
const PATIENCE = 5000;
/** Bytes behind such a frame; more are left in the kernel. */
const MOST_HELD = 4 * 1024 * 1024;
/** An ABORT need not be read; so long somebody may, in ms. */
const LINGER = 1000;
/** Buffers that are joined before they are written. */
const SMALL = 64 * 1024;

export class Transport {
  readonly socket: net.Socket;
  /** Resolves when nothing of the connection is left. */
  readonly closed: Promise<void>;
  private readonly session: Session;
  private readonly receiver: Receiver;
  private waiters: (() => void)[] = [];
  private timer: NodeJS.Timeout | null = null;
  private isAwake = false;
  private isFull = false;
  private isEnded = false;
  private isShut = false;

  constructor(session: Session, socket: net.Socket, lane: Lane | null) {
    this.session = session;
    this.socket = socket;
    this.receiver = new Receiver(session);
    socket.on('data', (data) => {
      this.receiver.feed(data);
      this.wait();
    });
    socket.on('end', () => this.end());
    socket.on('error', () => this.end()); // an end like any other (AWP-TR-6)
    socket.on('drain', () => {
      this.isFull = false;
      this.wake();
    });
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.end();
        this.signal();
        resolve();
      });
    });
    if (lane) lane.onChange = () => this.changed();
  }

  // ---- reading ----

  /** A handle has come, or none will any more. */
  private changed(): void {
    if (!this.receiver.isHeld) return;
    this.receiver.goOn();
    this.wait();
  }

  /** See to it that a frame waits for its handles, and not for ever. */
  private wait(): void {
    const { isHeld } = this.receiver;
    if (this.timer) clearTimeout(this.timer);
    this.timer = isHeld ? setTimeout(() => this.giveUp(), PATIENCE) : null;
    const isFull = isHeld && this.receiver.kept > MOST_HELD;
    if (isFull && !this.socket.isPaused()) this.socket.pause();
    else if (!isFull && this.socket.isPaused()) this.socket.resume();
  }

  private giveUp(): void {
    this.receiver.goOn(false);
    this.wait();
  }

  private end(): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    while (this.receiver.isHeld) this.receiver.goOn(false); // whoever has ended has sent all
    this.session.eof();
    if (!this.session.ended && this.socket.destroyed) this.session.eof();
  }

  // ---- writing ----

  /** There may be something to write. */
  wake(): void {
    if (this.isAwake) return;
    this.isAwake = true;
    queueMicrotask(() => {
      this.isAwake = false;
      this.write();
    });
  }

  /** Resolves when something was written, or can be no more. */
  written(): Promise<void> {
    return new Promise((resolve) => this.waiters.push(resolve));
  }

  private signal(): void {
    for (const resolve of this.waiters.splice(0)) resolve();
  }

  private write(): void {
    const { session } = this;
    while (!this.isFull && !session.out.isEmpty) {
      const batch = session.out.next(session.peer.max_frame);
      for (const handles of batch.handles) {
        if (session.ended) closeAll(handles);
        else session.outgoing.left(handles);
      }
      const { written } = batch;
      this.put(batch.buffers, batch.size, () => {
        for (const call of written) call();
      });
    }
    this.signal();
    if (session.out.isEmpty) this.finish();
  }

  private put(buffers: Buffer[], size: number, written: () => void): void {
    const { socket } = this;
    if (!socket.writable) {
      written();
      return;
    }
    socket.cork();
    const pieces = size <= SMALL ? [Buffer.concat(buffers, size)] : buffers;
    pieces.forEach((piece, i) => {
      const isLast = i === pieces.length - 1;
      if (!socket.write(piece, isLast ? written : undefined)) this.isFull = true;
    });
    socket.uncork();
  }

  /** All is written. After GOODBYE nothing else will be (AWP-ST-2), and after an end nothing is read. */
  private finish(): void {
    const { session, socket } = this;
    if (session.ended && !this.isEnded) {
      this.isEnded = true;
      if (session.state === 'closed' && socket.writable) socket.end(() => socket.destroy());
      else socket.destroy();
      setTimeout(() => socket.destroy(), LINGER).unref();
    } else if (session.state === 'closing' && !this.isShut) {
      this.isShut = true;
      socket.end();
    }
  }
}
