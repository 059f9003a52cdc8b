/** The actor of the specification's annex A: it does what a test kit tells it to. */

import net from 'node:net';
import {
  AwpError,
  Float,
  Handle,
  type Message,
  type Port,
  run,
  type Table,
  type Value,
  type Worker,
} from './awp/index.ts';

const NO_COMMAND = new AwpError('not_handled', 'no such command');
/** For how long connections are served after STOP, in ms. */
const GRACE = 500;

class Actor {
  private readonly worker: Worker;
  private readonly commands: Record<string, (argument: Value, message: Message) => Value | Promise<Value>>;
  private ports: Port[] = [];
  private cancelled = 0;

  constructor(worker: Worker) {
    this.worker = worker;
    this.commands = {
      echo: (argument) => argument,
      fail: (text) => {
        throw new AwpError('app', typeof text === 'string' ? text : '');
      },
      cancel_state: () => this.cancelled,
      tell_back: (argument) => this.tellBack(argument),
      log: (argument) => this.log(argument),
      crash: () => process.abort(),
      exit: (code) => process.exit(asNumber(code)),
      take_handle: (_, message) => message.handles.map((it) => [it.kind, it.stat().ino]),
      give_handle: (n) => this.give(asNumber(n)),
      listen: (request) => this.listen(request),
      unlisten: () => this.unlisten(),
    };
  }

  async take(message: Message): Promise<void> {
    const [name, argument = null] = Array.isArray(message.body) ? (message.body as readonly Value[]) : [];
    if (name === 'sleep') {
      this.sleep(message, asNumber(argument));
      return;
    }
    const command = typeof name === 'string' && Object.hasOwn(this.commands, name) ? this.commands[name] : undefined;
    try {
      if (!command) throw NO_COMMAND;
      await message.reply(await command(argument, message));
    } catch (error) {
      message.fail(error);
    }
    message.close();
  }

  /** Wait, and be ended by whatever ends the call. */
  private sleep(message: Message, ms: number): void {
    const over = new AbortController();
    const timer = setTimeout(() => over.abort(), ms);
    const end = (): void => {
      clearTimeout(timer);
      if (over.signal.aborted) void message.reply(null).finally(() => message.close());
      else {
        const why = message.signal.aborted ? message.signal.reason : new AwpError('stopping', 'the worker is stopping');
        if (message.signal.aborted && why.code === 'cancelled') this.cancelled += 1;
        message.fail(why);
        message.close();
      }
    };
    let isEnded = false;
    const once = (): void => {
      if (isEnded) return;
      isEnded = true;
      end();
    };
    over.signal.addEventListener('abort', once);
    if (message.signal.aborted) once();
    message.signal.addEventListener('abort', once);
    void this.worker.stopping.then(once);
  }

  private async tellBack(argument: Value): Promise<Value> {
    const [n, body = null] = pairOf(argument);
    const count = asNumber(n);
    for (let i = 1; i <= count; i += 1) await this.worker.tell(null, [i, body]);
    await this.worker.flushed(); // an answer may overtake what goes in fragments
    return count;
  }

  private log(argument: Value): Value {
    const [level, text] = pairOf(argument);
    this.worker.log(asNumber(level), 'conformance', String(text));
    return null;
  }

  private async give(n: number): Promise<Value> {
    const handles: Handle[] = [];
    for (let i = 0; i < n; i += 1) {
      const server = net.createServer();
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      handles.push(Handle.of(server));
    }
    return handles;
  }

  private async listen(request: Value): Promise<Value> {
    if (typeof request !== 'object' || request === null || Array.isArray(request)) throw NO_COMMAND;
    const port = await this.worker.listenRaw(request as Table, (socket) => this.serve(socket));
    this.ports.push(port);
    return port.address;
  }

  private unlisten(): Value {
    const ports = this.ports.splice(0);
    for (const port of ports) port.close();
    return ports.length;
  }

  /** Write the worker's id; write back what comes; close at the end of file. */
  private serve(socket: net.Socket): void {
    socket.on('error', () => {});
    socket.write(`${this.worker.welcome.worker}\n`);
    socket.pipe(socket);
    void this.worker.stopping.then(() => setTimeout(() => socket.destroy(), GRACE).unref());
  }
}

function asNumber(value: Value): number {
  if (value instanceof Float) return value.value;
  return typeof value === 'number' ? value : 0;
}

function pairOf(argument: Value): readonly Value[] {
  const pair = Array.isArray(argument) ? (argument as readonly Value[]) : [];
  if (pair.length !== 2) throw NO_COMMAND;
  return pair;
}

// Nothing here keeps the loop for long, and the kit starts hundreds of these.
await run({ name: 'conformance', keepFloats: true, watchdog: false }, async (worker) => {
  const actor = new Actor(worker);
  for await (const message of worker.messages()) await actor.take(message);
});
