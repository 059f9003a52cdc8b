'use strict';
process.on('message', (message, handle) => {
  if (message === 'serve') {
    handle.on('connection', (socket) => socket.end('from the server'));
    process.send('serves');
  } else {
    handle.on('message', (data, from) => handle.send(`got ${data}`, from.port, from.address));
    process.send('listens');
  }
});
