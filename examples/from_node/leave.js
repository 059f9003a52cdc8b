// node leave.js PORT
const cluster = require('node:cluster');
const net = require('node:net');

if (cluster.isPrimary) {
  const worker = cluster.fork();
  worker.on('listening', () => console.log('listening'));
  worker.on('message', () => {
    worker.disconnect();
    console.log('the worker is told to leave');
  });
  worker.on('exit', () => {
    console.log(`it has left, because it was told to: ${worker.exitedAfterDisconnect ? 'yes' : 'no'}`);
  });
} else {
  const server = net.createServer((socket) => {
    socket.write('welcome\n');
    socket.on('data', () => socket.end('goodbye\n'));
    process.send('there is a client');
  });
  server.listen(Number(process.argv[2]), '127.0.0.1');
}
