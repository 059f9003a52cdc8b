/**
 * What Node makes of a descriptor, held still: a `net.Socket`, `net.Server` or `dgram.Socket`.
 *
 * Node begins to read from such an object as soon as it has made it, and says nothing in public of
 * its descriptor. Here is all that uses members which Node does not document, and nothing else does:
 * `_handle` with `fd`, `reading`, `readStop`, and for datagrams the handle behind the symbol
 * `state symbol`. They have been there since Node 12, and the tests run with every version that the
 * README names.
 */

import dgram from 'node:dgram'; // without it Node ends when it is given a UDP socket
import fs from 'node:fs';
import net from 'node:net';
import { Handle as HandleKind } from './awp_v1.ts';

export type NodeObject = net.Socket | net.Server | dgram.Socket;

interface Native {
  readonly fd?: number;
  reading?: boolean;
  readStop?(): number;
  recvStop?(): number;
}

function nativeOf(object: NodeObject): Native | undefined {
  if (!(object instanceof dgram.Socket)) return (object as { _handle?: Native | null })._handle ?? undefined;
  const symbol = Object.getOwnPropertySymbols(object).find((it) => it.description === 'state symbol');
  const state = symbol && (object as unknown as Record<symbol, { handle?: Native | null }>)[symbol];
  return state?.handle ?? undefined;
}

/** Its descriptor; -1: it is closed. */
export function fdOf(object: NodeObject): number {
  return nativeOf(object)?.fd ?? -1;
}

export function isNodeObject(value: unknown): value is NodeObject {
  return value instanceof net.Socket || value instanceof net.Server || value instanceof dgram.Socket;
}

export function closeObject(object: NodeObject): void {
  if (object instanceof net.Socket) object.destroy();
  else if (fdOf(object) >= 0) object.close();
}

/** Somebody else has to end with the object, so nobody hears of its errors any more. */
export function mute(object: NodeObject): void {
  object.on('error', () => {});
}

/**
 * Keeps an object from reading or accepting for nobody. A socket does not read; of a server, which
 * accepts whatever one does, the connections are kept; datagrams stay in the kernel.
 */
export class Still {
  readonly object: NodeObject;
  private readonly accepted: net.Socket[] = [];
  private readonly accept = (socket: net.Socket): void => {
    this.accepted.push(quiet(socket));
  };
  private readonly deaf = (): void => {};

  constructor(object: NodeObject) {
    this.object = object;
    object.on('error', this.deaf);
    if (object instanceof net.Socket) quiet(object);
    else if (object instanceof net.Server) object.on('connection', this.accept);
    else nativeOf(object)?.recvStop?.();
  }

  /** The same object, as it would be without us. */
  release(): NodeObject {
    const { object } = this;
    object.off('error', this.deaf);
    if (object instanceof net.Socket) wake(object);
    else if (object instanceof net.Server) this.passOn(object);
    else (nativeOf(object) as { recvStart?(): number } | undefined)?.recvStart?.();
    return object;
  }

  private passOn(server: net.Server): void {
    server.off('connection', this.accept);
    setImmediate(() => {
      for (const socket of this.accepted) server.emit('connection', wake(socket));
    });
  }

  close(): void {
    for (const socket of this.accepted) socket.destroy();
    closeObject(this.object);
  }
}

function quiet(socket: net.Socket): net.Socket {
  const native = nativeOf(socket);
  if (native?.reading) {
    native.reading = false;
    native.readStop?.();
  }
  return socket;
}

/** Let it read again; `_read` is what streams are made of, and starts what `readStop` has stopped. */
function wake(socket: net.Socket): net.Socket {
  if (nativeOf(socket) && !socket.destroyed) socket._read(0);
  return socket;
}

// ---- what a descriptor is (AWP-HA-2) ----

/** Find out what an object is; undefined: nothing that has a kind here, or it is closed. */
export function kindOf(object: NodeObject): number | undefined {
  const fd = fdOf(object);
  if (fd < 0) return undefined;
  if (object instanceof dgram.Socket) return HandleKind.UDP_SOCKET;
  if (object instanceof net.Server) {
    return typeof object.address() === 'object' && object.address()
      ? HandleKind.TCP_LISTENER
      : HandleKind.UNIX_LISTENER;
  }
  const stat = fs.fstatSync(fd);
  if (stat.isFIFO()) return isForWriting(fd) ? HandleKind.PIPE_WRITE : HandleKind.PIPE_READ;
  if (!stat.isSocket()) return undefined;
  if ('address' in object.address()) {
    // A connection that was reset has no peer either.
    const listens = object.remoteAddress === undefined && isListed(['tcp', 'tcp6'], stat.ino, isTcpListener);
    return listens ? HandleKind.TCP_LISTENER : HandleKind.TCP_SOCKET;
  }
  return isListed(['unix'], stat.ino, isUnixListener) ? HandleKind.UNIX_LISTENER : HandleKind.UNIX_STREAM;
}

function isForWriting(fd: number): boolean {
  const flags = /^flags:\s*([0-7]+)/m.exec(fs.readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'));
  return (Number.parseInt(flags?.[1] ?? '0', 8) & fs.constants.O_WRONLY) !== 0;
}

type Test = (fields: readonly string[], inode: string) => boolean;

// Columns of proc(5): of tcp the fourth is the state and the tenth the inode; of unix the fourth has
// the flags, __SO_ACCEPTCON among them, and the seventh is the inode.
const isTcpListener: Test = (fields, inode) => fields[3] === '0A' && fields[9] === inode;
const isUnixListener: Test = (fields, inode) => fields[6] === inode && fields[3] === '00010000';

/** Look a socket up where the kernel lists them: Node has no getsockopt. */
function isListed(tables: readonly string[], inode: number, test: Test): boolean {
  for (const table of tables) {
    const path = `/proc/self/net/${table}`;
    if (!fs.existsSync(path)) continue;
    const lines = fs.readFileSync(path, 'latin1').split('\n');
    if (lines.some((line) => line.includes(String(inode)) && test(line.trim().split(/\s+/), String(inode))))
      return true;
  }
  return false;
}
