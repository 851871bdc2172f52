/** `npm run bench -- failover`: one of four servers goes away and comes back. */
import { setTimeout as wait } from "node:timers/promises";
import { benchFaults, type FaultCase } from "./faults.ts";

const AWAY_MS = 3000;

const CASES: readonly FaultCase[] = [
  {
    title: "One of four killed with kill -9, back after 3 s",
    seconds: 14,
    returns: true,
    async run(ill) {
      await ill.kill();
      await wait(AWAY_MS);
      await ill.restart();
    },
  },
  {
    title: "One of four stopped with SIGSTOP, goes on after 3 s",
    seconds: 14,
    returns: true,
    async run(ill) {
      ill.signal("SIGSTOP");
      await wait(AWAY_MS);
      ill.signal("SIGCONT");
    },
  },
  {
    title: "One of four killed and restarted every 5 s",
    seconds: 18,
    async run(ill) {
      for (let times = 0; times < 3; times++) {
        await ill.kill();
        await ill.restart();
        await wait(5000);
      }
    },
  },
];

export function benchFailover(only: readonly string[]): Promise<void> {
  return benchFaults(CASES, only);
}
