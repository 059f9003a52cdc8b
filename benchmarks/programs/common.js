// What the Node programs share: their arguments, what they send, the line they print.
'use strict';

const given = new Map(process.argv.slice(2).map((argument) => {
  const at = argument.indexOf('=');
  return [argument.slice(0, at), argument.slice(at + 1)];
}));

// The same bytes as in common.py.
exports.RESPONSE = Buffer.from(
  'HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\nhello world\n');

exports.text = (name, fallback) => given.get(name) ?? fallback;
exports.number = (name, fallback) => Number(given.get(name) ?? fallback);

// What a message carries beside its number: `size` ASCII characters, or bytes.
exports.data = () => {
  const size = exports.number('size', 8);
  return exports.text('data', 'text') === 'bytes' ? Buffer.alloc(size, 'x') : 'x'.repeat(size);
};

// Seconds of the warm-up, which is discarded, and of what is measured.
exports.phases = () => [exports.number('warmup', 0.1), exports.number('seconds', 1)];

// Written at once, so that the process may end right after it.
exports.say = (result) => require('fs').writeSync(1, JSON.stringify(result) + '\n');

// The clock that every process of this machine shares, in seconds.
exports.now = () => Number(process.hrtime.bigint()) / 1e9;

exports.spread = (times) => {
  const ordered = Float64Array.from(times).sort();
  const at = (share) => ordered[Math.max(0, Math.ceil(share * ordered.length) - 1)];
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
};

// Resolves when the standard input is closed, with which servers are told to end.
exports.told = () => new Promise((resolve) => {
  process.stdin.on('end', resolve).on('close', resolve).resume();
});

// A worker's next message.
exports.message = (emitter) => new Promise((resolve) => emitter.once('message', resolve));
