/** `npm run bench -- balance`: one of four servers is worse than the others. */
import { benchFaults, type FaultCase } from "./faults.ts";

const SECONDS = 10;

const CASES: readonly FaultCase[] = [
  { title: "All four well (the baseline)", seconds: SECONDS, run: async () => {} },
  { title: "One of four ten times slower", seconds: SECONDS, run: (ill) => ill.mode("slow") },
  { title: "One of four answers 503 at once", seconds: SECONDS, run: (ill) => ill.mode("busy") },
  { title: "One of four accepts and hangs", seconds: SECONDS, run: (ill) => ill.mode("hang") },
];

export function benchBalance(only: readonly string[]): Promise<void> {
  return benchFaults(CASES, only);
}
