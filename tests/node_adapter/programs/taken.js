'use strict';
const net = require('net');
const server = net.createServer();
server.on('error', (error) => process.send({ code: error.code, syscall: error.syscall, errno: error.errno }));
server.listen(+process.env.TAKEN, '127.0.0.1');
