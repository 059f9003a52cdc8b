// Plays scenarios under Node's cluster, and writes down what every party saw.
//
// $ node driver.js SCENARIOS.json TRACE.jsonl
//
// Steps, and when each is done, are explained in __init__.py; driver.py is the same for actorcluster.
'use strict';

const cluster = require('node:cluster');
const fs = require('node:fs');
const net = require('node:net');

const PATIENCE_MS = 20000;

function appender(path, scenario) {
  return (who, line) =>
    fs.appendFileSync(path, JSON.stringify({ scenario, who, ...line }) + '\n');
}

// ---- the worker -------------------------------------------------------------------------------

function work() {
  const { PARTY_ORDINAL: ordinal, PARTY_TRACE: path, PARTY_SCENARIO: scenario } = process.env;
  const trace = appender(path, scenario);
  const tell = (line) => trace(`worker ${ordinal}`, line);
  const ack = (id, ok = true, port = null) => process.send({ ack: id, ok, port });
  tell({ event: 'started', args: process.argv.slice(2), extra: process.env.PARTY_EXTRA ?? null });

  const serve = (socket) => {
    socket.on('error', () => {});
    socket.once('data', (data) => {
      const greeting = process.env.PARTY_POLICY === 'none' ? 'hello' : `hello from ${ordinal}`;
      if (String(data) === 'hold') socket.write(greeting);
      else socket.end(greeting);
    });
  };
  const listen = (id, how, where) => {
    const server = net.createServer({ allowHalfOpen: false }, serve);
    server.on('error', (error) => {
      tell({ event: 'listen failed', code: error.code });
      ack(id, false);
    });
    if (how === 'one') server.maxConnections = 1;
    const options = { tcp: { port: 0, host: '127.0.0.1' },
      one: { port: 0, host: '127.0.0.1' },
      exclusive: { port: 0, host: '127.0.0.1', exclusive: true },
      taken: { port: where, host: '127.0.0.1' },
      unix: { path: where } }[how];
    server.listen(options, () => ack(id, true, server.address().port ?? null));
  };

  process.send({ started: true });
  process.on('message', ({ id, does, value, where }, handle) => {
    switch (does) {
      case 'note':
        tell({ event: 'message', body: value });
        return ack(id);
      case 'say':
        process.send({ said: value });
        return ack(id);
      case 'listen':
        return listen(id, value, where);
      case 'take':
        serve(handle);
        return ack(id);
      case 'exit':
        return process.exit(value);
      case 'throw':
        throw new Error('thrown');
      case 'leave':
        return cluster.worker.disconnect();
      case 'quit':
        return cluster.worker.kill();
    }
  });
}

// ---- the primary ------------------------------------------------------------------------------

class Scene {
  constructor(scenario, path) {
    this.scenario = scenario;
    this.trace = appender(path, scenario.name);
    this.path = path;
    this.workers = new Map(); // by ordinal
    this.happened = new Set(); // 'exit 1'
    this.acks = new Map();
    this.waiting = []; // [condition, resolve]
    this.clients = new Map();
    this.pending = []; // steps that are not done yet
    this.listeners = [];
    this.ids = 0;
    this.port = null;
  }

  async play() {
    cluster.schedulingPolicy = this.scenario.policy === 'none' ? cluster.SCHED_NONE : cluster.SCHED_RR;
    for (const step of this.scenario.steps) {
      const done = this.step(step);
      if (step.on) this.pending.push(done);
      else await this.patiently(step, done);
    }
    for (const done of this.pending) await this.patiently({ does: 'end' }, done);
    this.over = true;
    for (const socket of this.clients.values()) socket.destroy();
    for (const worker of this.workers.values()) worker.process.kill('SIGKILL');
    for (const ordinal of this.workers.keys()) await this.gone(ordinal);
    for (const [event, listener] of this.listeners) cluster.removeListener(event, listener);
  }

  async patiently(step, done) {
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(() => resolve('late'), PATIENCE_MS);
    });
    if ((await Promise.race([done, late])) === 'late') this.trace('driver', { event: 'late', step: step.does });
    clearTimeout(timer);
  }

  until(condition) {
    return new Promise((resolve) => {
      if (condition()) resolve();
      else this.waiting.push([condition, resolve]);
    });
  }

  look() {
    const [ready, waiting] = [[], []];
    for (const entry of this.waiting) (entry[0]() ? ready : waiting).push(entry);
    this.waiting = waiting;
    for (const [, resolve] of ready) resolve();
  }

  note(what) {
    this.happened.add(what);
    this.look();
  }

  gone(ordinal) {
    return this.until(
      () => this.happened.has(`exit ${ordinal}`) && this.happened.has(`disconnect ${ordinal}`),
    );
  }

  about(ordinal, line) {
    if (!this.over) this.trace(`primary about ${ordinal}`, line);
  }

  facts(worker) {
    return { state: worker.state, flag: worker.exitedAfterDisconnect ?? null };
  }

  watch(ordinal, worker) {
    const seen = (event, more = {}) => {
      this.about(ordinal, { event, ...this.facts(worker), ...more });
      this.note(`${event} ${ordinal}`);
    };
    const mine = (event, handler) => {
      const listener = (other, ...rest) => {
        if (other === worker) handler(...rest);
      };
      cluster.on(event, listener);
      this.listeners.push([event, listener]);
    };
    mine('fork', () => seen('fork'));
    mine('online', () => seen('online'));
    mine('listening', (address) => {
      seen('listening', { kind: { 4: 'tcp4', 6: 'tcp6', [-1]: 'unix' }[address.addressType] });
    });
    mine('disconnect', () => seen('disconnect'));
    mine('exit', (code, signal) => seen('exit', { code, signal }));
    worker.on('message', (message) => {
      if ('started' in message) this.note(`started ${ordinal}`);
      else if ('ack' in message) {
        this.acks.set(message.ack, message.ok);
        this.port = message.port ?? this.port;
        this.look();
      } else this.trace(`primary from ${ordinal}`, { event: 'message', body: message.said });
    });
    worker.on('error', () => {});
  }

  // Tells the worker to do something; resolves with whether it did.
  async order(ordinal, command, handle) {
    const id = ++this.ids;
    const refused = await new Promise((resolve) => {
      const worker = this.workers.get(ordinal);
      worker.send({ id, ...command }, handle, (error) => resolve(error !== null));
    });
    if (refused) {
      this.about(ordinal, { event: 'send refused' });
      return false;
    }
    await this.until(() => this.acks.has(id) || this.happened.has(`exit ${ordinal}`));
    return this.acks.get(id) ?? false;
  }

  async step({ does, worker: ordinal, value, client }) {
    const worker = this.workers.get(ordinal);
    switch (does) {
      case 'setup':
        cluster.once('setup', (settings) => this.trace('primary', { event: 'setup', args: settings.args }));
        cluster.setupPrimary({ args: [value] });
        return this.until(() => true);
      case 'fork':
        return this.fork(ordinal, value);
      case 'send':
        return this.order(ordinal, { does: 'note', value });
      case 'tell':
        return this.order(ordinal, { does: 'say', value });
      case 'listen':
        return this.listen(ordinal, value);
      case 'disconnect':
        worker.disconnect();
        return this.gone(ordinal);
      case 'kill':
        worker.process.kill(value);
        return this.gone(ordinal);
      case 'exit': case 'throw': case 'leave': case 'quit':
        if (!worker.isDead()) worker.send({ does, value }, () => {});
        return this.gone(ordinal);
      case 'disconnect_all':
        await new Promise((resolve) => cluster.disconnect(resolve));
        this.trace('primary', { event: 'all disconnected' });
        for (const one of this.workers.keys()) await this.gone(one);
        return;
      case 'look':
        return this.about(ordinal, { event: 'look', ...this.facts(worker),
          connected: worker.isConnected(), dead: worker.isDead(),
          listed: Object.values(cluster.workers).includes(worker) });
      case 'connect':
        return this.connect(client, this.port, 'talk');
      case 'hold':
        return this.connect(client, this.port, 'hold');
      case 'drop':
        this.clients.get(client).destroy();
        return;
      case 'pass':
        return this.pass(client, ordinal);
    }
  }

  async fork(ordinal, value) {
    const { name, policy } = this.scenario;
    const worker = cluster.fork({ PARTY_ORDINAL: ordinal, PARTY_TRACE: this.path,
      PARTY_SCENARIO: name, PARTY_POLICY: policy, ...(value ? { PARTY_EXTRA: value } : {}) });
    this.workers.set(ordinal, worker);
    this.watch(ordinal, worker);
    return this.until(() => this.happened.has(`started ${ordinal}`) || this.happened.has(`exit ${ordinal}`));
  }

  async listen(ordinal, how) {
    let where = null;
    let blocker;
    if (how === 'unix') where = `${this.path}.${this.scenario.number}.sock`;
    if (how === 'taken') {
      blocker = net.createServer().listen(0, '127.0.0.1');
      await new Promise((resolve) => blocker.once('listening', resolve));
      where = blocker.address().port;
    }
    const listens = await this.order(ordinal, { does: 'listen', value: how, where });
    if (blocker) blocker.close();
    if (how === 'unix') this.port = where;
    if (listens && how !== 'exclusive') await this.until(() => this.happened.has(`listening ${ordinal}`));
  }

  // Resolves with the end of the connection, or with what a held one was greeted with.
  connect(client, where, word) {
    const socket = net.connect(typeof where === 'string' ? { path: where } : { port: where, host: '127.0.0.1' });
    let text = '';
    this.clients.set(client, socket);
    return new Promise((resolve) => {
      const tell = (line) => {
        if (!this.over) this.trace(`client ${client}`, line);
        resolve();
      };
      socket.on('connect', () => socket.write(word));
      socket.on('data', (data) => {
        text += data;
        if (word === 'hold') tell({ event: 'greeted', text });
      });
      socket.on('end', () => tell({ event: 'end', text }));
      socket.on('error', (error) => tell({ event: 'failed', code: error.code }));
    });
  }

  // The primary accepts, and hands the connection to a worker.
  async pass(client, ordinal) {
    const server = net.createServer({ pauseOnConnect: true });
    server.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const accepted = new Promise((resolve) => server.once('connection', resolve));
    const done = this.connect(client, server.address().port, 'talk');
    const socket = await accepted;
    server.close();
    if (!(await this.order(ordinal, { does: 'take' }, socket))) socket.destroy();
    return done;
  }
}

async function lead([scenarios, trace]) {
  cluster.setupPrimary({ exec: __filename, args: [] });
  for (const scenario of JSON.parse(fs.readFileSync(scenarios, 'utf8'))) {
    cluster.setupPrimary({ args: [] });
    await new Promise(setImmediate); // its event is not the scenario's
    await new Scene(scenario, trace).play();
  }
}

if (cluster.isPrimary) {
  lead(process.argv.slice(2)).then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
} else work();
