/** What goes wrong, as programs see it, and as it travels (sections 12 and 21). */

import { Abort, ErrorCode, Key } from './awp_v1.ts';
import { Float, type Table, type Value } from './msgpack.ts';

/** The failure of a call, of a listener or of a message. Who answers a call chooses the code. */
export class AwpError extends Error {
  override readonly name = 'AwpError';
  readonly code: string;
  readonly data: Value;
  /** How the failure is called in the language of the peer, for people. */
  readonly type: string | undefined;

  constructor(code: string, message = '', more: { data?: Value; type?: string | undefined } = {}) {
    super(message || code);
    this.code = code;
    this.data = more.data ?? null;
    this.type = more.type;
  }
}

/** Why a connection was given up, by either side. */
export class Aborted extends Error {
  override readonly name = 'Aborted';
  readonly code: number;
  readonly detail: string;
  /** It was this side that gave up. */
  readonly here: boolean;

  constructor(code: number, detail: string, here: boolean) {
    const [word = code] = Object.entries(Abort).find(([, value]) => value === code) ?? [];
    super(`the ${here ? 'worker' : 'primary'} gave the connection up: ${word}: ${detail}`);
    this.code = code;
    this.detail = detail;
    this.here = here;
  }
}

/** The primary has gone without a word. */
export class Lost extends Error {
  override readonly name = 'Lost';
}

/** The connection is closed, in good order. */
export class Closed extends Error {
  override readonly name = 'Closed';
}

/** The program is no worker, or cannot be one as it was started. */
export class NotWorker extends Error {
  override readonly name = 'NotWorker';
}

/** Bytes of a text for people: what holds it has to fit into one frame (section 13). */
const MOST_TEXT = 4096;

/** Cut a text, not inside a character. */
export function clip(text: string): string {
  if (text.length <= MOST_TEXT && Buffer.byteLength(text) <= MOST_TEXT) return text;
  const bytes = Buffer.from(text);
  let end = MOST_TEXT;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end -= 1;
  return bytes.toString('utf8', 0, end);
}

/** Give anything that was thrown the form in which it travels. */
export function asError(thrown: unknown): AwpError {
  if (thrown instanceof AwpError) return thrown;
  if (thrown instanceof Error) return new AwpError(ErrorCode.APP, thrown.message, { type: thrown.name });
  return new AwpError(ErrorCode.APP, String(thrown));
}

export function errorTable(error: AwpError): Table {
  const table: Record<string, Value> = { [Key.ERROR.CODE]: error.code };
  if (error.message !== error.code) table[Key.ERROR.MESSAGE] = clip(error.message);
  if (error.data !== null) table[Key.ERROR.DATA] = error.data;
  if (error.type !== undefined) table[Key.ERROR.REMOTE] = { type: clip(error.type), lang: 'js' };
  return table;
}

/** Read an error map; what is none is a failure too. */
export function parseError(value: Value): AwpError {
  const table = asTable(value) ?? {};
  const code = table[Key.ERROR.CODE];
  if (typeof code !== 'string') return new AwpError(ErrorCode.BAD_PAYLOAD, 'an ERROR without a code');
  const message = table[Key.ERROR.MESSAGE];
  const type = asTable(table[Key.ERROR.REMOTE])?.['type'];
  return new AwpError(code, typeof message === 'string' ? message : '', {
    data: table[Key.ERROR.DATA] ?? null,
    type: typeof type === 'string' ? type : undefined,
  });
}

// ---- values of the protocol's own maps and envelopes: undefined is what is none of the kind ----

/** A map; nil and nothing are an empty one. */
export function asTable(value: Value): Table | undefined {
  if (value === null || value === undefined) return {};
  if (typeof value !== 'object' || Array.isArray(value) || value instanceof Uint8Array) return undefined;
  return Object.getPrototypeOf(value) === null || value.constructor === Object ? (value as Table) : undefined;
}

/** An array; nil and nothing are an empty one. */
export function asList(value: Value): readonly Value[] | undefined {
  if (value === null || value === undefined) return [];
  return Array.isArray(value) ? value : undefined;
}

export function asStrings(value: Value): readonly string[] | undefined {
  const list = asList(value);
  return list?.every((element) => typeof element === 'string') ? (list as readonly string[]) : undefined;
}

/** An integer of at most 64 bits and not below 0; beyond 2^53 it loses digits, as all numbers here. */
export function asUint(value: Value): number | undefined {
  if (typeof value === 'bigint') return value >= 0n ? Number(value) : undefined;
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 ? value : undefined;
}

/** A number of the specification's section 1: finite and not negative. */
export function asNumber(value: Value): number | undefined {
  if (value instanceof Float) return asNumber(value.value);
  if (typeof value === 'bigint') return asUint(value);
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;
}
