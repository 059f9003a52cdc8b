const cluster = require('node:cluster');

if (cluster.isPrimary) {
  cluster.once('setup', (settings) => console.log(`setup: ${settings.args}`));
  cluster.setupPrimary({ args: ['one', 'two'] });
  const worker = cluster.fork({ COLOUR: 'blue' });
  worker.on('message', (text) => console.log(text));
} else {
  process.send(`arguments: ${process.argv.slice(2)}, colour: ${process.env.COLOUR}`);
  process.disconnect();
}
