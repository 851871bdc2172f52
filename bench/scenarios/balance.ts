/** `npm run bench -- balance`: one of four servers is worse than the others. */
import { benchFaults, type FaultCase } from "./faults.ts";

const SECONDS = 8;

const CASES: readonly FaultCase[] = [
  { id: "well", title: "All four well", seconds: SECONDS, run: async () => {} },
  { id: "slow", title: "One of four ten times slower", seconds: SECONDS, run: (ill) => ill.mode("slow") },
  { id: "busy", title: "One of four answers 503 at once", seconds: SECONDS, run: (ill) => ill.mode("busy") },
  { id: "hang", title: "One of four accepts and hangs", seconds: SECONDS, run: (ill) => ill.mode("hang") },
];

export function benchBalance(args: string[]): Promise<number> {
  return benchFaults("balance", CASES, args);
}
