/** A worker that is busy for ever. */

import { run } from '../awp/index.ts';

await run({ name: 'busy' }, async () => {
  for (;;);
});
