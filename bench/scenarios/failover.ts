/** `npm run bench -- failover`: one of four servers goes away and comes back. */
import { setTimeout as wait } from "node:timers/promises";
import { benchFaults, type FaultCase } from "./faults.ts";

const AWAY_MS = 3000;
const RESTARTS = 3;

const CASES: readonly FaultCase[] = [
  {
    id: "kill",
    title: "One of four killed with kill -9, back after 3 s",
    seconds: 12,
    returns: true,
    spares: 1,
    async run(ill) {
      await ill.kill();
      await wait(AWAY_MS);
      await ill.restart();
    },
  },
  {
    id: "stop",
    title: "One of four stopped with SIGSTOP, goes on after 3 s",
    seconds: 12,
    returns: true,
    async run(ill) {
      ill.signal("SIGSTOP");
      await wait(AWAY_MS);
      ill.signal("SIGCONT");
    },
  },
  {
    id: "restarts",
    title: "One of four killed every 5 s, and started again at once",
    seconds: 16,
    spares: RESTARTS,
    async run(ill) {
      for (let times = 0; times < RESTARTS; times++) {
        await ill.kill();
        await ill.restart();
        await wait(5000);
      }
    },
  },
];

export function benchFailover(args: string[]): Promise<number> {
  return benchFaults("failover", CASES, args);
}
