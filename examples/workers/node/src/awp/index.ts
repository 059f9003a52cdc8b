/**
 * A worker's side of AWP 1.0, the protocol between a primary and its workers, by the side lane of
 * form `node`: it takes and sends messages, calls and open sockets, and serves ports that workers
 * share. `run` runs a program as a worker; what it needs is in `Worker`.
 */

export * as awp from './awp_v1.ts';
export type { CallOptions, Config, ListenRequest } from './config.ts';
export { Aborted, AwpError, Closed, Lost, NotWorker } from './errors.ts';
export { Handle } from './handle.ts';
export type { Limits } from './limits.ts';
export type { Message } from './message.ts';
export { Ext, Float, type Table, type Value } from './msgpack.ts';
export type { NodeObject } from './objects.ts';
export type { Answer } from './outgoing.ts';
export type { Port } from './port.ts';
export { connect, isWorker, run } from './run.ts';
export type { Worker } from './worker.ts';
