/**
 * msgpack within the profile of the specification's section 5, and no more of it: about as much code
 * as it takes to make a package for everybody keep to the profile. It tells apart what the protocol
 * tells apart: a body that is cut off or goes on (`Overrun`), one that is no msgpack (`NotMsgpack`),
 * and one that breaks the profile (`OffProfile`). It never believes a length.
 */

/** What a payload can hold. Integers beyond 2^53 - 1 are bigints; maps have no prototype. */
export type Value =
  | null
  | undefined
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Ext
  | Float
  | Packable
  | readonly Value[]
  | Table;
export type Table = { readonly [key: string]: Value };

/** An object that stands for an extension, as a handle does. */
export interface Packable {
  toExt(handles: unknown[]): Ext;
}

/**
 * A whole number that travels as a float. JavaScript does not tell 2.0 from 2, so it arrives as 2, and
 * what is 2 leaves as an integer; who has to tell them apart wants floats kept, and sends these.
 */
export class Float {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** An extension type that this module makes nothing of; -1 is msgpack's own timestamp. */
export class Ext {
  readonly code: number;
  readonly data: Uint8Array;

  constructor(code: number, data: Uint8Array) {
    this.code = code;
    this.data = data;
  }
}

/** The bytes are too few, or too many. */
export class Overrun extends Error {}
/** A byte that msgpack does not have. */
export class NotMsgpack extends Error {}
/** Right as msgpack, and not within the profile. */
export class OffProfile extends Error {}

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

// ---- encoding ----

class Writer {
  bytes = Buffer.allocUnsafe(256);
  size = 0;

  /** Make room for so many bytes; returns where they begin. */
  grow(count: number): number {
    const at = this.size;
    this.size += count;
    if (this.size > this.bytes.length) {
      const more = Buffer.allocUnsafe(Math.max(2 * this.bytes.length, this.size));
      this.bytes.copy(more, 0, 0, at);
      this.bytes = more;
    }
    return at;
  }

  /** A tag and an unsigned integer of `width` bytes. */
  head(tag: number, width: 1 | 2 | 4, n: number): void {
    const at = this.grow(1 + width);
    this.bytes[at] = tag;
    this.bytes.writeUIntBE(n, at + 1, width);
  }

  put(data: Uint8Array): void {
    const at = this.grow(data.length); // which may be in another buffer
    this.bytes.set(data, at);
  }

  byte(value: number): void {
    const at = this.grow(1);
    this.bytes[at] = value;
  }
}

/**
 * Encode values behind each other, each in its shortest form.
 *
 * @param depth how deep arrays and maps may be nested
 * @param handles gets what stands for itself by `toExt`
 * @throws OffProfile
 */
export function encode(values: readonly Value[], depth = 64, handles: unknown[] = []): Buffer {
  const out = new Writer();
  for (const value of values) write(out, value, depth, handles);
  return out.bytes.subarray(0, out.size);
}

function write(out: Writer, value: Value, depth: number, handles: unknown[]): void {
  if (value === null || value === undefined) out.byte(0xc0);
  else if (typeof value === 'boolean') out.byte(value ? 0xc3 : 0xc2);
  else if (typeof value === 'number') writeNumber(out, value);
  else if (typeof value === 'bigint') writeBigint(out, value);
  else if (typeof value === 'string') writeText(out, value);
  else if (value instanceof Uint8Array) writeBin(out, value);
  else if (value instanceof Ext) writeExt(out, value);
  else if (value instanceof Float) writeFloat(out, value.value);
  else if (isList(value)) {
    if (depth <= 0) throw new OffProfile('nested too deep');
    writeSize(out, value.length, 0x90, 0xdc);
    for (const element of value) write(out, element, depth - 1, handles);
  } else if (isPackable(value)) writeExt(out, value.toExt(handles));
  else if (typeof value === 'object') writeMap(out, value, depth, handles);
  else throw new OffProfile(`a ${typeof value} has no form in msgpack`);
}

const isList = (value: Value): value is readonly Value[] => Array.isArray(value);

function isPackable(value: object): value is Packable {
  return typeof (value as { toExt?: unknown }).toExt === 'function';
}

function writeMap(out: Writer, table: Table, depth: number, handles: unknown[]): void {
  if (depth <= 0) throw new OffProfile('nested too deep');
  const prototype = Object.getPrototypeOf(table);
  if (prototype !== null && prototype !== Object.prototype) {
    throw new OffProfile(`a ${prototype.constructor?.name} has no form in msgpack`);
  }
  const keys = Object.keys(table);
  writeSize(out, keys.length, 0x80, 0xde);
  for (const key of keys) {
    writeText(out, key);
    write(out, table[key], depth - 1, handles);
  }
}

function writeSize(out: Writer, size: number, small: number, tag: number): void {
  if (size < 16) out.byte(small | size);
  else if (size < 0x10000) out.head(tag, 2, size);
  else out.head(tag + 1, 4, size);
}

function writeNumber(out: Writer, value: number): void {
  if (!Number.isSafeInteger(value) || Object.is(value, -0)) writeFloat(out, value);
  else if (value >= 0) {
    if (value < 0x80) out.byte(value);
    else if (value < 0x100) out.head(0xcc, 1, value);
    else if (value < 0x10000) out.head(0xcd, 2, value);
    else if (value < 0x100000000) out.head(0xce, 4, value);
    else writeBigint(out, BigInt(value));
  } else if (value >= -0x20) out.byte(0x100 + value);
  else if (value >= -0x80) out.head(0xd0, 1, 0x100 + value);
  else if (value >= -0x8000) out.head(0xd1, 2, 0x10000 + value);
  else if (value >= -0x80000000) out.head(0xd2, 4, 0x100000000 + value);
  else writeBigint(out, BigInt(value));
}

function writeFloat(out: Writer, value: number): void {
  const at = out.grow(9);
  out.bytes[at] = 0xcb;
  out.bytes.writeDoubleBE(value, at + 1);
}

function writeBigint(out: Writer, value: bigint): void {
  if (value >= -0x80000000n && value < 0x100000000n) {
    writeNumber(out, Number(value));
    return;
  }
  if (value >= 2n ** 64n || value < -(2n ** 63n)) throw new OffProfile('an integer of more than 64 bits');
  const at = out.grow(9);
  out.bytes[at] = value < 0 ? 0xd3 : 0xcf;
  if (value < 0) out.bytes.writeBigInt64BE(value, at + 1);
  else out.bytes.writeBigUInt64BE(value, at + 1);
}

function writeText(out: Writer, text: string): void {
  const size = Buffer.byteLength(text);
  if (size < 32) out.byte(0xa0 | size);
  else if (size < 0x100) out.head(0xd9, 1, size);
  else if (size < 0x10000) out.head(0xda, 2, size);
  else out.head(0xdb, 4, size);
  const at = out.grow(size);
  out.bytes.write(text, at, size, 'utf8');
}

/** The tag and length of a bin, which a fragment has before its piece. */
export function binHead(size: number): Buffer {
  const out = new Writer();
  if (size < 0x100) out.head(0xc4, 1, size);
  else if (size < 0x10000) out.head(0xc5, 2, size);
  else out.head(0xc6, 4, size);
  return out.bytes.subarray(0, out.size);
}

function writeBin(out: Writer, data: Uint8Array): void {
  out.put(binHead(data.length));
  out.put(data);
}

function writeExt(out: Writer, ext: Ext): void {
  const { length } = ext.data;
  const fixed = [1, 2, 4, 8, 16].indexOf(length);
  if (fixed >= 0) out.byte(0xd4 + fixed);
  else if (length < 0x100) out.head(0xc7, 1, length);
  else if (length < 0x10000) out.head(0xc8, 2, length);
  else out.head(0xc9, 4, length);
  out.byte(ext.code & 0xff);
  out.put(ext.data);
}

// ---- decoding ----

/** What a tag is followed by: bytes that are no values, and values. */
interface Shape {
  readonly tag: number;
  /** where the content begins */
  readonly start: number;
  /** bytes of content */
  readonly bytes: number;
  /** values of content */
  readonly values: number;
}

const FIXED: readonly number[] = [4, 8, 1, 2, 4, 8, 1, 2, 4, 8]; // ca to d3

function shapeAt(data: Buffer, at: number): Shape {
  const tag = data[at];
  if (tag === undefined) throw new Overrun('a body that is cut off');
  const start = at + 1;
  if (tag < 0x80 || tag >= 0xe0) return { tag, start, bytes: 0, values: 0 };
  if (tag < 0x90) return { tag, start, bytes: 0, values: 2 * (tag & 15) };
  if (tag < 0xa0) return { tag, start, bytes: 0, values: tag & 15 };
  if (tag < 0xc0) return { tag, start, bytes: tag & 31, values: 0 };
  if (tag === 0xc1) throw new NotMsgpack('a byte that msgpack does not have');
  if (tag < 0xc4) return { tag, start, bytes: 0, values: 0 };
  if (tag >= 0xca && tag <= 0xd3) return { tag, start, bytes: FIXED[tag - 0xca] as number, values: 0 };
  if (tag >= 0xd4 && tag <= 0xd8) return { tag, start, bytes: 1 + (1 << (tag - 0xd4)), values: 0 };
  return counted(data, tag, start);
}

function counted(data: Buffer, tag: number, at: number): Shape {
  const width =
    tag <= 0xc6
      ? 1 << (tag - 0xc4)
      : tag <= 0xc9
        ? 1 << (tag - 0xc7)
        : tag <= 0xdb
          ? 1 << (tag - 0xd9)
          : 2 << (tag & 1);
  if (at + width > data.length) throw new Overrun('a body that is cut off');
  const n = data.readUIntBE(at, width);
  const start = at + width;
  if (tag <= 0xc6 || (tag >= 0xd9 && tag <= 0xdb)) return { tag, start, bytes: n, values: 0 };
  if (tag <= 0xc9) return { tag, start, bytes: n + 1, values: 0 };
  return { tag, start, bytes: 0, values: tag <= 0xdd ? n : 2 * n };
}

/**
 * Find where the value at `from` ends. It goes by lengths alone, and calls itself for nothing: depth
 * is the decoder's affair.
 *
 * @throws Overrun, NotMsgpack
 */
export function skip(data: Buffer, from: number): number {
  let at = from;
  for (let left = 1; left > 0; left -= 1) {
    const shape = shapeAt(data, at);
    at = shape.start + shape.bytes;
    left += shape.values;
    if (at + left - 1 > data.length) throw new Overrun('a body that is cut off');
  }
  return at;
}

/** What becomes of an extension in a value: the place for handles, and for checks. */
export type Resolve = (ext: Ext) => Value;

/** How a value is decoded. */
export interface Decoding {
  /** Whole numbers that came as floats are `Float`s. */
  readonly keepFloats?: boolean;
  readonly resolve?: Resolve;
}

/**
 * Decode one value, which is all there is of `data`.
 *
 * @param depth how deep arrays and maps may be nested
 * @throws Overrun, NotMsgpack, OffProfile
 */
export function decode(data: Buffer, depth = 64, how: Decoding = {}): Value {
  const reader = new Reader(data, how);
  const value = reader.value(depth);
  if (reader.at !== data.length) throw new Overrun('more than one value');
  return value;
}

class Reader {
  at = 0;
  readonly data: Buffer;
  readonly resolve: Resolve;
  readonly keepFloats: boolean;

  constructor(data: Buffer, { resolve = (ext) => ext, keepFloats = false }: Decoding) {
    this.data = data;
    this.resolve = resolve;
    this.keepFloats = keepFloats;
  }

  value(depth: number): Value {
    const { data } = this;
    const shape = shapeAt(data, this.at);
    const { tag, start } = shape;
    const end = start + shape.bytes;
    if (end + shape.values > data.length) throw new Overrun('a body that is cut off');
    this.at = end;
    if (tag < 0x80) return tag;
    if (tag >= 0xe0) return tag - 0x100;
    if (tag < 0x90 || tag >= 0xde) return this.map(shape.values / 2, depth);
    if (tag < 0xa0 || tag === 0xdc || tag === 0xdd) return this.list(shape.values, depth);
    if (tag < 0xc0 || (tag >= 0xd9 && tag <= 0xdb)) return text(data, start, end);
    if (tag >= 0xc4 && tag <= 0xc6) return Buffer.from(data.subarray(start, end));
    if (tag >= 0xd4 || (tag >= 0xc7 && tag <= 0xc9)) {
      const code = data.readInt8(start);
      return this.resolve(new Ext(code, Buffer.from(data.subarray(start + 1, end))));
    }
    if (tag === 0xca || tag === 0xcb)
      return this.float(tag === 0xca ? data.readFloatBE(start) : data.readDoubleBE(start));
    return scalar(data, tag, start);
  }

  float(value: number): Value {
    return this.keepFloats && Number.isSafeInteger(value) && !Object.is(value, -0) ? new Float(value) : value;
  }

  list(count: number, depth: number): Value[] {
    if (depth <= 0) throw new OffProfile('nested too deep');
    const list: Value[] = [];
    for (let i = 0; i < count; i += 1) list.push(this.value(depth - 1));
    return list;
  }

  map(count: number, depth: number): Table {
    if (depth <= 0) throw new OffProfile('nested too deep');
    const table: Record<string, Value> = Object.create(null);
    for (let i = 0; i < count; i += 1) {
      const key = this.value(depth - 1);
      if (typeof key !== 'string') throw new OffProfile('a key that is no text');
      if (key in table) throw new OffProfile('a key that is there twice');
      table[key] = this.value(depth - 1);
    }
    return table;
  }
}

function text(data: Buffer, start: number, end: number): string {
  const found = data.toString('utf8', start, end);
  if (found.includes('\ufffd')) {
    try {
      utf8.decode(data.subarray(start, end));
    } catch {
      throw new OffProfile('a text that is not UTF-8');
    }
  }
  return found;
}

function scalar(data: Buffer, tag: number, at: number): Value {
  switch (tag) {
    case 0xc2:
      return false;
    case 0xc3:
      return true;
    case 0xcc:
    case 0xcd:
    case 0xce:
      return data.readUIntBE(at, 1 << (tag - 0xcc));
    case 0xcf:
      return small(data.readBigUInt64BE(at));
    case 0xd0:
    case 0xd1:
    case 0xd2:
      return data.readIntBE(at, 1 << (tag - 0xd0));
    case 0xd3:
      return small(data.readBigInt64BE(at));
    default:
      return null;
  }
}

function small(value: bigint): number | bigint {
  return value <= MAX_SAFE && value >= -MAX_SAFE ? Number(value) : value;
}
