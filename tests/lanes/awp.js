'use strict';
// The least that a worker in Node needs: msgpack, frames, and the two ways of a lane. No addon, no
// package, public API only.
const net = require('net');

const LANE = 8;
const PATIENCE = 5000; // milliseconds from a frame to its handles
const FAR_AHEAD = 1024; // numbers of handles that no frame has declared
const KINDS = {
  HELLO: 0x01, WELCOME: 0x02, READY: 0x03, GOODBYE: 0x04, ABORT: 0x05, PING: 0x06, PONG: 0x07,
  SETTINGS: 0x08, SETTINGS_ACK: 0x09, CREDIT: 0x0a, STOP: 0x0d, LISTEN: 0x10, LISTENING: 0x11,
  CONN: 0x12, CONN_REPLY: 0x13, CONN_CREDIT: 0x14, HANDLE_ACK: 0x16, TELL: 0x20, CALL: 0x21,
  REPLY: 0x22, ERROR: 0x23,
};

class Ext {
  constructor(type, data) { this.type = type; this.data = data; }
}

function pack(value) {
  const big = (tag, size, write) => {
    const out = Buffer.alloc(1 + size);
    out[0] = tag;
    write(out);
    return out;
  };
  if (value === null || value === undefined) return Buffer.from([0xc0]);
  if (typeof value === 'boolean') return Buffer.from([value ? 0xc3 : 0xc2]);
  if (typeof value === 'number') {
    if (!Number.isInteger(value)) return big(0xcb, 8, (out) => out.writeDoubleBE(value, 1));
    if (value >= 0 && value < 128) return Buffer.from([value]);
    if (value >= 0 && value < 2 ** 32) return big(0xce, 4, (out) => out.writeUInt32BE(value, 1));
    return big(0xd3, 8, (out) => out.writeBigInt64BE(BigInt(value), 1));
  }
  if (typeof value === 'string') {
    const text = Buffer.from(value);
    return Buffer.concat([big(0xda, 2, (out) => out.writeUInt16BE(text.length, 1)), text]);
  }
  if (value instanceof Ext) return Buffer.from([0xd4, value.type, value.data]);
  if (Buffer.isBuffer(value)) {
    return Buffer.concat([big(0xc6, 4, (out) => out.writeUInt32BE(value.length, 1)), value]);
  }
  if (Array.isArray(value)) {
    const head = big(0xdc, 2, (out) => out.writeUInt16BE(value.length, 1));
    return Buffer.concat([head, ...value.map(pack)]);
  }
  const entries = Object.entries(value);
  const head = big(0xde, 2, (out) => out.writeUInt16BE(entries.length, 1));
  return Buffer.concat([head, ...entries.flat().map(pack)]);
}

// Read one value; `at.offset` moves on.
function unpack(data, at) {
  const take = (size) => { at.offset += size; return at.offset - size; };
  const uint = (size) => (size === 8 ? Number(data.readBigUInt64BE(take(8))) : data.readUIntBE(take(size), size));
  const int = (size) => (size === 8 ? Number(data.readBigInt64BE(take(8))) : data.readIntBE(take(size), size));
  const raw = (size) => { const from = take(size); return Buffer.from(data.subarray(from, from + size)); };
  const ext = (size) => { const type = int(1); const body = raw(size); return new Ext(type, body[0]); };
  const list = (size) => Array.from({ length: size }, () => unpack(data, at));
  const map = (size) => Object.fromEntries(Array.from({ length: size }, () => [unpack(data, at), unpack(data, at)]));
  const tag = data[take(1)];
  if (tag < 0x80) return tag;
  if (tag < 0x90) return map(tag & 15);
  if (tag < 0xa0) return list(tag & 15);
  if (tag < 0xc0) return raw(tag & 31).toString();
  if (tag >= 0xe0) return tag - 256;
  switch (tag) {
    case 0xc0: return null;
    case 0xc2: return false;
    case 0xc3: return true;
    case 0xc4: case 0xc5: case 0xc6: return raw(uint(1 << (tag - 0xc4)));
    case 0xca: return data.readFloatBE(take(4));
    case 0xcb: return data.readDoubleBE(take(8));
    case 0xcc: case 0xcd: case 0xce: case 0xcf: return uint(1 << (tag - 0xcc));
    case 0xd0: case 0xd1: case 0xd2: case 0xd3: return int(1 << (tag - 0xd0));
    case 0xd4: case 0xd5: case 0xd6: case 0xd7: case 0xd8: return ext(1 << (tag - 0xd4));
    case 0xd9: case 0xda: case 0xdb: return raw(uint(1 << (tag - 0xd9))).toString();
    case 0xdc: case 0xdd: return list(uint(2 << (tag - 0xdc)));
    case 0xde: case 0xdf: return map(uint(2 << (tag - 0xde)));
    default: throw new Error(`tag ${tag}`);
  }
}

const close = (handle) => (handle.destroy || handle.close).call(handle);

// A connection: `on(frame)` is called with each frame, its `handles` beside it, in order; where they
// are `lost` they were closed.
class Connection {
  constructor(on) {
    const [scheme, fd] = process.env.ACTORCLUSTER_CHANNEL.split(':');
    if (scheme !== 'fd' || process.env.ACTORCLUSTER_LANE !== 'node') {
      console.error('this is a worker with a lane of form node');
      process.exit(2);
    }
    for (const name of Object.keys(process.env)) {
      if (/^ACTORCLUSTER_(CHANNEL|WORKER_ID|LANE|LIMITS)$/.test(name)) delete process.env[name];
    }
    this.on = on;
    this.buffer = Buffer.alloc(0);
    this.arrived = new Map();
    this.declared = this.given = this.taken = 0;
    this.socket = new net.Socket({ fd: Number(fd), readable: true, writable: true });
    this.socket.on('data', (data) => {
      this.buffer = Buffer.concat([this.buffer, data]);
      this.read();
    });
    this.socket.on('end', () => process.exit(0));
    this.socket.on('error', () => process.exit(0));
    process.on('message', ({ handle: number }, handle) => this.arrive(number, handle));
    process.on('disconnect', () => this.read());
  }

  // A handle has come by the lane; one that is nobody's is closed.
  arrive(number, handle) {
    const ahead = number - this.declared;
    if (!(ahead > 0 && ahead <= FAR_AHEAD) || this.arrived.has(number)) return close(handle);
    this.arrived.set(number, handle);
    return this.read();
  }

  // Whether the handles of the next frame are there, or lost.
  mayGoOn(numbers) {
    const isThere = numbers.every((number) => this.arrived.has(number));
    if (isThere || !process.connected || (this.until && Date.now() >= this.until)) {
      clearTimeout(this.timer);
      this.until = 0;
      return true;
    }
    if (!this.until) {
      this.until = Date.now() + PATIENCE;
      this.timer = setTimeout(() => this.read(), PATIENCE + 10);
    }
    return false;
  }

  read() {
    while (this.buffer.length >= 16) {
      const length = this.buffer.readUInt32BE(2);
      const [kind, flags, nfds] = this.buffer.subarray(7, 10);
      if (this.buffer.length < 16 + length) return;
      const numbers = Array.from({ length: nfds }, (_, i) => this.declared + i + 1);
      if (nfds && !(flags & LANE)) throw new Error('handles that came by no lane');
      if (nfds && !this.mayGoOn(numbers)) return;
      const handles = numbers.map((number) => this.arrived.get(number));
      const lost = handles.includes(undefined);
      numbers.forEach((number) => this.arrived.delete(number));
      if (lost) handles.filter(Boolean).forEach(close);
      this.declared += nfds;
      const body = this.buffer.subarray(16, 16 + length);
      const frame = { kind, channel: this.buffer.readUInt32BE(12), body: Buffer.from(body), handles, lost };
      this.buffer = this.buffer.subarray(16 + length);
      if (nfds) {
        this.taken += 1;
        this.send(KINDS.HANDLE_ACK, [this.taken, lost ? [this.taken] : null], null);
      }
      if (kind !== KINDS.PING) {
        const at = { offset: 0 };
        frame.envelope = unpack(frame.body, at);
        frame.payload = unpack(frame.body, at);
      }
      this.on(frame);
    }
  }

  // Handles are given to the lane first, each with its number.
  send(kind, envelope, payload, { channel = 0, handles = [], body = null } = {}) {
    for (const handle of handles) process.send({ handle: ++this.given }, handle);
    const content = body || Buffer.concat([pack(envelope), pack(payload)]);
    const head = Buffer.alloc(16);
    head[0] = 0x95;
    head[1] = head[6] = head[11] = 0xce;
    head.writeUInt32BE(content.length, 2);
    head[7] = kind;
    head[8] = handles.length ? LANE : 0;
    head[9] = handles.length;
    head.writeUInt32BE(channel, 12);
    this.socket.write(Buffer.concat([head, content]));
  }
}

module.exports = { Connection, Ext, KINDS, close };
