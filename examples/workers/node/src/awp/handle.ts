/** Handles: open descriptors with a description, in values and in envelopes (section 16). */

import fs from 'node:fs';
import net from 'node:net';
import { ErrorCode, Ext as ExtCode, Handle as HandleKind, HandleName, Meta } from './awp_v1.ts';
import { AwpError, asList, asTable, asUint } from './errors.ts';
import { decode, Ext, OffProfile, type Packable, type Resolve, type Table, type Value } from './msgpack.ts';
import { closeObject, fdOf, kindOf, type NodeObject, Still } from './objects.ts';

/** The kinds that Node can be given, and give. */
export const KINDS: readonly number[] = [
  HandleKind.TCP_SOCKET,
  HandleKind.TCP_LISTENER,
  HandleKind.UDP_SOCKET,
  HandleKind.UNIX_STREAM,
  HandleKind.UNIX_LISTENER,
  HandleKind.PIPE_READ,
  HandleKind.PIPE_WRITE,
];

/** The name of a kind in HELLO and WELCOME. */
export function kindName(kind: number): string {
  const [key] = Object.entries(HandleKind).find(([, value]) => value === kind) ?? [];
  return HandleName[key as keyof typeof HandleName] ?? String(kind);
}

/**
 * An open socket, server or pipe with a description. It stands in the body of a message like any
 * other value. Whoever has it closes it, or uses it up by `take`, or sends it on.
 */
export class Handle implements Packable {
  readonly kind: number;
  /** The description that travels along: `peer`, `local`, `name`, `shared` and others. */
  readonly meta: Table;
  private still: Still | null;

  private constructor(kind: number, meta: Table, still: Still) {
    this.kind = kind;
    this.meta = meta;
    this.still = still;
  }

  /**
   * Make a handle of an object of Node's, which is the handle's from now on. What a socket has read
   * already, and nobody has taken, goes along.
   *
   * @throws AwpError it is closed, or something that cannot be sent
   */
  static of(object: NodeObject, meta: Table = {}): Handle {
    const kind = kindOf(object);
    if (kind === undefined) {
      throw new AwpError(ErrorCode.UNSUPPORTED_HANDLE, 'what is closed, or no socket, has no handle');
    }
    const still = new Still(object);
    const head = object instanceof net.Socket && object.readableLength > 0 ? (object.read() as Buffer | null) : null;
    return new Handle(kind, head ? { ...meta, [Meta.HANDLE.HEAD]: head } : meta, still);
  }

  /** One that arrived: nobody has read from it. */
  static arrived(kind: number, meta: Table, still: Still): Handle {
    return new Handle(kind, meta, still);
  }

  /** Bytes that its sender had read before. */
  get head(): Uint8Array | null {
    const head = this.meta[Meta.HANDLE.HEAD];
    return head instanceof Uint8Array ? head : null;
  }

  get isOpen(): boolean {
    return this.still !== null;
  }

  /** The object itself, which is the caller's now. Of a socket, its head is read first. */
  take(): NodeObject {
    const { still, head } = this;
    if (!still) throw new AwpError(ErrorCode.UNSUPPORTED_HANDLE, 'the handle is used up');
    this.still = null;
    const object = still.release();
    if (head && head.length > 0 && object instanceof net.Socket) object.unshift(head);
    return object;
  }

  /** As `take`, for what has to be a socket. */
  takeSocket(): net.Socket {
    const object = this.take();
    if (object instanceof net.Socket) return object;
    closeObject(object);
    throw new AwpError(ErrorCode.UNSUPPORTED_HANDLE, `a ${kindName(this.kind)} is no socket`);
  }

  /** Describe the descriptor as fstat(2) does. */
  stat(): fs.Stats {
    if (!this.still) throw new AwpError(ErrorCode.UNSUPPORTED_HANDLE, 'the handle is used up');
    return fs.fstatSync(fdOf(this.still.object));
  }

  /** The object, while it stays the handle's. */
  get object(): NodeObject | null {
    return this.still?.object ?? null;
  }

  /** What the descriptor really is. */
  get realKind(): number | undefined {
    return this.still ? kindOf(this.still.object) : undefined;
  }

  /** Close it, if nobody has taken it. */
  close(): void {
    this.still?.close();
    this.still = null;
  }

  /** It leaves with a message: a handle of the same, while this one is used up. */
  move(): Handle {
    const { still } = this;
    if (!still) throw new AwpError(ErrorCode.UNSUPPORTED_HANDLE, 'the handle is used up');
    this.still = null;
    return new Handle(this.kind, this.meta, still);
  }

  /** Its place in a body: the index among the handles that go along. */
  toExt(handles: unknown[]): Ext {
    if (!handles.includes(this)) handles.push(this);
    return new Ext(ExtCode.HANDLE, Uint8Array.of(handles.indexOf(this)));
  }
}

/** What an entry of an envelope says of a handle. */
export interface Entry {
  readonly kind: number;
  readonly meta: Table;
}

/** Read `[kind, meta]`; undefined: it is none. */
export function parseEntry(entry: Value, mayHaveHead: boolean): Entry | undefined {
  if (!Array.isArray(entry)) return undefined;
  const kind = asUint(asList(entry)?.[0]);
  const meta = asTable(asList(entry)?.[1]);
  if (kind === undefined || kind > 255 || meta === undefined) return undefined;
  const head = meta[Meta.HANDLE.HEAD] ?? null;
  const isStream = kind === HandleKind.TCP_SOCKET || kind === HandleKind.UNIX_STREAM;
  if (head !== null && !(head instanceof Uint8Array && isStream && mayHaveHead)) return undefined;
  return { kind, meta };
}

/** How handles stand in an envelope. */
export function entriesOf(handles: readonly Handle[]): Value {
  if (handles.length === 0) return null;
  return handles.map(({ kind, meta }) => (Object.keys(meta).length > 0 ? [kind, meta] : [kind]));
}

/** Bytes that are no part of the envelope's limit (AWP-HA-7). */
export function headsOf(handles: readonly Handle[]): number {
  return handles.reduce((sum, handle) => sum + (handle.head?.length ?? 0), 0);
}

/** Whether all are what their entries say (AWP-HA-2). */
export function verifyAll(handles: readonly Handle[]): AwpError | null {
  const wrong = handles.find((handle) => handle.realKind !== handle.kind);
  return wrong ? new AwpError(ErrorCode.UNSUPPORTED_HANDLE, `this is no ${kindName(wrong.kind)}`) : null;
}

/** Turns references of a body into the handles of its frame, and checks those to actors. */
export function resolver(handles: readonly Handle[]): Resolve {
  return (ext) => {
    if (ext.code === ExtCode.HANDLE) {
      const handle = ext.data.length === 1 ? handles[ext.data[0] as number] : undefined;
      if (!handle) throw new OffProfile('a reference to no handle');
      return handle;
    }
    if (ext.code === ExtCode.REF) checkRef(ext);
    if (ext.code === -1 && ![4, 8, 12].includes(ext.data.length)) throw new OffProfile('no instant');
    return ext;
  };
}

function checkRef(ext: Ext): void {
  const value = decode(Buffer.from(ext.data), 1);
  const [id = null, name = null] = Array.isArray(value) ? (value as readonly Value[]) : [false];
  if ((id !== null && asUint(id) === undefined) || (name !== null && typeof name !== 'string')) {
    throw new OffProfile('a reference to no actor');
  }
}
