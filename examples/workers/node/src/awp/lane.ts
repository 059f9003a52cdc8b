/**
 * The side lane (section 25): handles come and go on Node's own channel, beside the bytes, each with
 * a number. This module has the books of both directions; it knows nothing of frames.
 *
 * A handle may come long before or long after its frame. So arrivals are kept by number, up to 1024
 * ahead of what frames have declared, which also bounds how many there are; and whoever reads frames
 * asks whether the next ones are there. One that comes too late, twice, or without a number that
 * makes sense is closed at once (AWP-LN-4).
 */

import type { Handle } from './handle.ts';
import { closeObject, isNodeObject, mute, type NodeObject, Still } from './objects.ts';

/** So far ahead of what was declared a number may be. */
const AHEAD = 1024;

/** What of `process` is a lane. */
export interface Port {
  on(event: 'message', listener: (message: unknown, object?: unknown) => void): unknown;
  on(event: 'disconnect', listener: () => void): unknown;
  send(message: object, object: NodeObject, options: object, done: (error: Error | null) => void): unknown;
  disconnect(): void;
  readonly connected: boolean;
}

export class Lane {
  private readonly port: Port;
  private readonly arrivals = new Map<number, Still>();
  private declared = 0;
  private given = 0;
  /** Called when a handle has come, and when the lane has ended. */
  onChange: () => void = () => {};

  constructor(port: Port) {
    this.port = port;
    port.on('message', (message, object) => this.bring(message, object));
    port.on('disconnect', () => this.onChange());
  }

  get isOver(): boolean {
    return !this.port.connected;
  }

  private bring(message: unknown, object: unknown): void {
    if (!isNodeObject(object)) return;
    const number = (message as { handle?: unknown } | null)?.handle;
    const isDue = typeof number === 'number' && Number.isInteger(number) && number > this.declared;
    if (!isDue || number > this.declared + AHEAD || this.arrivals.has(number)) {
      mute(object);
      closeObject(object);
      return;
    }
    this.arrivals.set(number, new Still(object));
    this.onChange();
  }

  /** Whether the next so many handles are all there. */
  has(count: number): boolean {
    for (let i = 1; i <= count; i += 1) if (!this.arrivals.has(this.declared + i)) return false;
    return true;
  }

  /** Take the next so many; undefined: not all have come, and those that have are closed. */
  claim(count: number): Still[] | undefined {
    const isWhole = this.has(count);
    const found: Still[] = [];
    for (let i = 0; i < count; i += 1) {
      this.declared += 1;
      const still = this.arrivals.get(this.declared);
      this.arrivals.delete(this.declared);
      if (still) found.push(still);
    }
    if (isWhole) return found;
    for (const still of found) still.close();
    return undefined;
  }

  /**
   * Send a handle under the next number; frames with handles leave in the same order. It stays open
   * here (`keepOpen`): a copy is kept until the primary has acknowledged the frame (AWP-HA-3).
   *
   * @param done it is written, or never will be; then its number never comes, which is a loss
   */
  send(handle: Handle, done: () => void): void {
    this.given += 1;
    const { object } = handle;
    if (object) this.port.send({ handle: this.given }, object, { keepOpen: true }, done);
    else done();
  }

  close(): void {
    for (const still of this.arrivals.values()) still.close();
    this.arrivals.clear();
    if (this.port.connected) this.port.disconnect();
  }
}
