'use strict';
process.on('message', (message, socket) => {
  socket.end(`${message}, from the worker\n`);
  socket.on('close', () => process.send({ served: message }));
});
process.send('there');
