/** How a program becomes a worker, and how its process ends. */

import net from 'node:net';
import { ErrorCode, Key } from './awp_v1.ts';
import type { Config } from './config.ts';
import { Aborted, AwpError, asError, NotWorker } from './errors.ts';
import { Lane, type Port } from './lane.ts';
import { parseLimits } from './limits.ts';
import type { Table, Value } from './msgpack.ts';
import { watch } from './watchdog.ts';
import { Worker } from './worker.ts';

/** For how long STOP is waited for after LEAVE, in ms. */
const PATIENCE = 5000;
/** What is not over so long after the connection is over for good, in ms. */
const GRACE = 1000;

/** Whether somebody has started this program as a worker. */
export function isWorker(): boolean {
  return process.env['ACTORCLUSTER_CHANNEL'] !== undefined;
}

/**
 * Find the connection to the primary in the environment, which is taken out of it (AWP-TR-2), and
 * introduce the worker.
 *
 * @throws NotWorker it is not there, or of no use
 */
export function connect(config: Config): Worker {
  const said = (name: string): string | undefined => {
    const value = process.env[`ACTORCLUSTER_${name}`];
    delete process.env[`ACTORCLUSTER_${name}`];
    return value;
  };
  const channel = said('CHANNEL');
  const id = Number(said('WORKER_ID') ?? Number.NaN);
  const token = said('TOKEN');
  const limits = parseLimits(said('LIMITS') ?? '');
  const form = said('LANE');
  if (channel === undefined) throw new NotWorker('no ACTORCLUSTER_CHANNEL: not started as a worker');
  const lane = openLane(form);
  const hello: Record<string, Value> = {};
  if (Number.isInteger(id) && id > 0) hello[Key.HELLO.WORKER] = id;
  if (token !== undefined) hello[Key.HELLO.TOKEN] = token;
  // The primary has blocked Ctrl-C, which is its own affair; Node has unblocked it.
  process.on('SIGINT', () => {});
  const all = { ...config, limits: { ...config.limits, ...limits } };
  return new Worker(all, openChannel(channel), lane, hello as Table);
}

/** Open `fd:N` or `unix:/path` (section 2). */
function openChannel(channel: string): net.Socket {
  const [scheme, rest = ''] = channel.split(/:(.*)/s, 2);
  try {
    if (scheme === 'unix' && rest) return net.connect({ path: rest, allowHalfOpen: true });
    if (scheme === 'fd' && /^\d{1,9}$/.test(rest)) {
      return new net.Socket({ fd: Number(rest), readable: true, writable: true, allowHalfOpen: true });
    }
  } catch (error) {
    throw new NotWorker(`ACTORCLUSTER_CHANNEL is of no use: ${channel}: ${(error as Error).message}`);
  }
  throw new NotWorker(`ACTORCLUSTER_CHANNEL is of no use: ${channel}`);
}

/** Without a lane there are no handles: Node has no other way for them. */
function openLane(form: string | undefined): Lane | null {
  if (form === undefined) return null;
  if (form !== 'node' || !process.send) throw new NotWorker(`ACTORCLUSTER_LANE is of no use: ${form}`);
  return new Lane(process as unknown as Port);
}

/** The exit status after the end of a connection: 0 if it was a good one, or the primary is gone. */
function statusOf(end: Error | null): number {
  return end instanceof Aborted ? 1 : 0;
}

/**
 * Run a function as a worker, and end the process with the status that the primary expects. When the
 * function returns the worker leaves; when it throws, at once. Whatever it is doing, its process has
 * ended soon after the connection has.
 */
export async function run(config: Config, main: (worker: Worker) => Promise<void>): Promise<never> {
  let worker: Worker;
  try {
    worker = connect(config);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    return process.exit(2);
  }
  void worker.ended.then(() => {
    setTimeout(() => process.exit(statusOf(worker.end)), GRACE);
  });
  let failed: unknown = null;
  let unwatch = (): void => {};
  try {
    await worker.introduced();
    if (config.watchdog ?? true) unwatch = watch(worker.fd);
    worker.ready();
    await worker.flushed(); // code that is busy from here on is ready all the same
    await main(worker);
  } catch (error) {
    failed = error ?? new Error('nothing was thrown');
  }
  if (failed && !worker.end && !isStop(failed)) {
    process.stderr.write(`${failed instanceof Error ? failed.stack : String(failed)}\n`);
    worker.explain(asError(failed));
  } else {
    failed = null;
    if (!worker.isStopping) await leave(worker);
  }
  unwatch();
  await worker.close();
  return process.exit(failed ? 1 : statusOf(worker.end));
}

function isStop(error: unknown): boolean {
  return error instanceof AwpError && error.code === ErrorCode.STOPPING;
}

/** Ask to be told to stop, and wait for it, so that no connection is handed over in vain. */
async function leave(worker: Worker): Promise<void> {
  worker.leave();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, PATIENCE);
  });
  await Promise.race([worker.stopping, late]);
  clearTimeout(timer);
}
