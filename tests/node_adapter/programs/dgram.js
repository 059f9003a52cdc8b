'use strict';
const dgram = require('dgram');
const socket = dgram.createSocket('udp4');
socket.on('message', (data, from) => socket.send(`got ${data}`, from.port, from.address));
socket.bind(0, '127.0.0.1', () => process.send(socket.address()));
