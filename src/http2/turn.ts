/** Gathers what connections want to write until the event loop has handed out all that was ready. */

export interface Turned {
  turnDue: boolean;
  turn(): void;
}

let due: Turned[] = [];

/** Calls `item.turn` once, after the sockets that are ready now were read. */
export function schedule(item: Turned): void {
  item.turnDue = true;
  if (due.push(item) === 1) setImmediate(run);
}

function run(): void {
  const items = due;
  due = [];
  for (const item of items) item.turn();
}
