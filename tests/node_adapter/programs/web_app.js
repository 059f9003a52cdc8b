// An app of a framework, as its own documentation begins.
'use strict';
const express = require(process.env.EXPRESS);
const app = express();
app.get('/hello/:name', (request, response) => response.json({ hello: request.params.name, pid: process.pid }));
const server = app.listen(0, '127.0.0.1', () => process.send(server.address()));
