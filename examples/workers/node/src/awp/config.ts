/** What programs say of themselves and of what they want. */

import type { AwpError } from './errors.ts';
import type { Limits } from './limits.ts';
import type { Table, Value } from './msgpack.ts';

/** How a worker presents itself, and whom it tells what. */
export interface Config {
  /** Of the program, for display. */
  readonly name: string;
  readonly version?: string;
  /** What this worker can receive; what the primary's user says goes before. */
  readonly limits?: Partial<Limits>;
  /** Whole numbers that came as floats are `Float`s in bodies. */
  readonly keepFloats?: boolean;
  /** A thread sees to it that the process ends with its primary, even where code never waits. */
  readonly watchdog?: boolean;
  /** The primary changes settings; called with those that it names. */
  readonly onSettings?: (settings: Table) => void;
  /** A message found nobody. */
  readonly onUndeliverable?: (number: number, to: Value, error: AwpError) => void;
}

/** What a request for a port says, see LISTEN in section 17. */
export interface ListenRequest {
  readonly transport: 'tcp' | 'unix' | 'udp' | 'fd';
  readonly host?: string;
  readonly port?: number;
  readonly path?: string;
  readonly modes?: readonly ('handoff' | 'shared')[];
  readonly credit?: number;
  readonly [key: string]: Value;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** ms until the caller gives up */
  readonly timeout?: number;
}

/** Something that happens once, and that may be waited for. */
export function mark(): { readonly promise: Promise<void>; readonly isSet: boolean; set(): void } {
  let resolve = (): void => {};
  const promise = new Promise<void>((it) => {
    resolve = it;
  });
  let isSet = false;
  return {
    promise,
    get isSet() {
      return isSet;
    },
    set() {
      isSet = true;
      resolve();
    },
  };
}
