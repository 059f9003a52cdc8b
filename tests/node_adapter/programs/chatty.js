// Says much, and goes.
'use strict';
for (let n = 0; n < 2000; n++) process.send({ n, text: 'x'.repeat(100) });
process.send('end', () => process.disconnect());
