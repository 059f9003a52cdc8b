/** A port that workers share, as programs have it. */

import dgram from 'node:dgram';
import net from 'node:net';
import { Closed } from './errors.ts';
import type { Handle } from './handle.ts';
import type { Value } from './msgpack.ts';
import { closeObject } from './objects.ts';
import type { Listener } from './ports.ts';
import type { Session } from './session.ts';

export class Port {
  /** Of a UDP port the socket, which is closed with the port. */
  readonly datagrams: dgram.Socket | null = null;
  private readonly session: Session;
  private readonly listener: Listener;
  private readonly onConnection: (socket: net.Socket) => void;
  private server: net.Server | null = null;

  constructor(session: Session, listener: Listener, onConnection: (socket: net.Socket) => void) {
    this.session = session;
    this.listener = listener;
    this.onConnection = onConnection;
    const object = listener.shared?.take();
    if (object instanceof net.Server) {
      this.server = object;
      object.on('connection', onConnection);
    } else if (object instanceof dgram.Socket) this.datagrams = object;
    listener.onEnded = () => this.ended();
    listener.onWaiting = () => this.accept();
    this.accept();
  }

  /** `handoff` or `shared`. */
  get mode(): string {
    return this.listener.mode;
  }

  /** Where it is bound, as LISTENING has it: `[host, port]` or a path. */
  get address(): Value {
    return this.listener.address;
  }

  /** The value that the first worker who had one gave to all who listen. */
  get data(): Value {
    return this.listener.data;
  }

  /** Give the port up. Connections that were not taken go to other workers. */
  close(): void {
    this.session.ports.give(this.listener, new Closed('the port is closed'));
  }

  private accept(): void {
    while (this.listener.accept((handle) => this.serve(handle)));
  }

  /** The primary has been told: from here on nobody else will serve it. */
  private serve(handle: Handle): void {
    const socket = handle.takeSocket();
    if (socket.destroyed) {
      this.listener.release(false);
      return;
    }
    socket.once('close', () => this.listener.release());
    this.onConnection(socket);
  }

  private ended(): void {
    if (this.server) closeObject(this.server);
    if (this.datagrams) closeObject(this.datagrams);
  }
}
