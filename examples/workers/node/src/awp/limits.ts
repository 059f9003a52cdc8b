/** What a side can receive (section 15). */

import { Limit, type LimitName } from './awp_v1.ts';
import { asUint } from './errors.ts';
import type { Table } from './msgpack.ts';

export type Limits = Record<LimitName, number>;

const NAMES = Object.keys(Limit) as LimitName[];
/** Nobody counts further. */
const MOST = 2 ** 31 - 1;
/** So many descriptors one frame can have. */
const MOST_FDS = 253;

/** All limits: defaults where nothing is said, and nothing below its floor (AWP-LM-1). */
export function completeLimits(some: Partial<Limits> = {}): Limits {
  const limits = {} as Limits;
  for (const name of NAMES) limits[name] = Math.max(some[name] ?? Limit[name].default, Limit[name].floor);
  limits.max_fds = Math.min(limits.max_fds, MOST_FDS);
  return limits;
}

/** The map of HELLO: what differs from the defaults. */
export function announcedLimits(limits: Limits): Partial<Limits> {
  return Object.fromEntries(
    NAMES.filter((name) => limits[name] !== Limit[name].default).map((name) => [name, limits[name]]),
  );
}

/** Take a map of limits over; false: one of them is no number. */
export function updateLimits(limits: Limits, table: Table): boolean {
  for (const name of NAMES) {
    const value = table[name];
    if (value === null || value === undefined) continue;
    const n = asUint(value);
    if (n === undefined) return false;
    limits[name] = Math.max(Math.min(n, MOST), Limit[name].floor);
  }
  return true;
}

/** Read ACTORCLUSTER_LIMITS (AWP-TR-8); what cannot be read is passed over. */
export function parseLimits(text: string): Partial<Limits> {
  const found: Partial<Limits> = {};
  for (const word of text.split(' ')) {
    const [name, digits = ''] = word.split('=', 2);
    if (NAMES.includes(name as LimitName) && /^\d{1,10}$/.test(digits)) {
      found[name as LimitName] = Math.min(Number(digits), MOST);
    }
  }
  return found;
}
