const cluster = require('node:cluster');

if (cluster.isPrimary) {
  const answers = {};
  for (let number = 0; number < 3; number++) cluster.fork();
  cluster.on('message', (worker, body) => {
    answers[worker.id] = body;
    if (Object.keys(answers).length < 3) return;
    for (const id of Object.keys(answers)) console.log(`worker ${id}: ${answers[id]}`);
    cluster.disconnect(() => console.log('all have left'));
  });
  for (const worker of Object.values(cluster.workers)) worker.send('how are you?');
} else {
  process.on('message', (body) => process.send(`${body} fine`));
}
