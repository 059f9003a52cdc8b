// Prints what the generated module says of every state and kind, for comparison.
import * as awp from "./awp_v1.js";

declare const console: { log(line: string): void };

const STATES = Object.values(awp.State);
const ACTIONS = Object.values(awp.Action);

function shown(step: awp.Step): string {
  return `${ACTIONS.indexOf(step.action) + 1} ${STATES.indexOf(step.next)}`;
}

function role(
  name: string,
  receives: (state: awp.State, kind: number) => awp.Step,
  atEof: (state: awp.State) => awp.Step,
  maySend: (state: awp.State, kind: awp.Kind) => boolean,
  sent: (state: awp.State, kind: awp.Kind) => awp.State,
): void {
  for (const [at, state] of STATES.entries()) {
    console.log(`${name} ${at} eof ${shown(atEof(state))}`);
    for (let code = 0; code < 256; code++) {
      let line = `${name} ${at} ${code} ${shown(receives(state, code))}`;
      const info = awp.KINDS.get(code);
      if (info !== undefined) {
        const kind = awp.Kind[info.name];
        line += ` ${Number(maySend(state, kind))}`;
        line += ` ${STATES.indexOf(sent(state, kind))}`;
      }
      console.log(line);
    }
  }
}

role(
  "worker",
  awp.workerReceives,
  awp.workerAtEof,
  awp.workerMaySend,
  awp.workerSent,
);
role(
  "primary",
  awp.primaryReceives,
  awp.primaryAtEof,
  awp.primaryMaySend,
  awp.primarySent,
);
for (const [code, info] of awp.KINDS) {
  const marks = [
    info.workerSends,
    info.primarySends,
    info.urgent,
    info.charged,
    info.handles,
  ];
  const bits = marks.map(Number).join("");
  console.log(
    `${code} ${info.name} ${info.capability ?? "-"} ${info.level} ${bits}`,
  );
}
