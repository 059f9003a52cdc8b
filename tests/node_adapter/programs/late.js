// Is ready when it says so, as process managers want it.
'use strict';
process.on('message', (message) => process.send(message));
