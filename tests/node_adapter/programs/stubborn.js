// Leaves neither when it is told to nor at SIGTERM.
'use strict';
process.on('SIGTERM', () => {});
setInterval(() => {}, 1000);
process.send('there');
