// An app of a framework, as its own documentation begins.
'use strict';
const express = require(process.env.EXPRESS);
const app = express();
app.use(express.json());
app.get('/hello/:name', (request, response) => response.json({ hello: request.params.name }));
app.use((request, response) => response.status(200).send(`nothing at ${request.path}`));
const server = app.listen(0, '127.0.0.1', () => process.send(server.address()));
