/**
 * What balancing costs, alone: `node|bun|deno run -A bench/micro-balance.ts`.
 * Each row is one request: lease, response head, settling, with eight others in flight, on the machine's own clock.
 * Counted is this process's CPU time, so that neighbours on the machine matter little; the best of some rounds.
 */
import { systemClock, systemRandom } from "../src/clock.ts";
import type { BalanceConfig } from "../src/config/balancing.ts";
import type { Transport } from "../src/exchange/dispatch.ts";
import { runtimeName, runtimeVersion } from "../src/runtime.ts";
import { startLagMonitor } from "../src/upstream/lag.ts";
import { createPool, DEFAULT_BALANCING, type Pool } from "../src/upstream/pool.ts";
import type { Lease } from "../src/upstream/server.ts";

const REQUESTS = Number(process.env.REQUESTS ?? 400_000);
const SIZES = [2, 10, 100, 1000, 10_000];
const OTHERS = 8;
const ROUNDS = 8;

const transport: Transport = { dispatch: () => () => {}, close: () => Promise.resolve() };
const lag = startLagMonitor(systemClock);

/** Every second server is far away; half of the others may be ill, so that a third of the requests go there. */
type Places = "one place" | "half far" | "half far, spilling";

function poolOf(
  balance: BalanceConfig,
  servers: number,
  weighted: boolean,
  maxInFlight: number,
  places: Places,
): Pool {
  const pool = createPool("bench", {
    clock: systemClock,
    random: systemRandom,
    lag,
    ...(places !== "one place" && { location: "yvr" }),
    balancing: { ...DEFAULT_BALANCING, balance, maxInFlight },
  });
  pool.update(
    Array.from({ length: servers }, (_, i) => ({
      id: `http://10.0.${i >> 8}.${i & 255}:8000`,
      weight: weighted ? 1 + (i % 3) : 1,
      ...(places !== "one place" && { location: i % 2 === 0 ? "yvr" : "fra" }),
      transport: () => transport,
    })),
  );
  if (places === "half far, spilling")
    for (const [i, { id }] of pool.members().entries()) if (i % 4 === 0) pool.mark(id, false);
  return pool;
}

function cpuMicros(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Microseconds a request. */
function measure(pool: Pool, keyed: boolean): number {
  const keys = Array.from({ length: 256 }, (_, i) => (keyed ? `session-${i}-0123456789abcdef` : undefined));
  const open: Lease[] = Array.from({ length: OTHERS }, () => pool.lease()!);
  const one = (i: number): void => {
    const at = i % OTHERS;
    const done = open[at]!;
    done.answered(200);
    done.settle("ok");
    open[at] = pool.lease(undefined, true, keys[i & 255])!;
  };
  for (let i = 0; i < REQUESTS / 4; i++) one(i);
  const times = Array.from({ length: ROUNDS }, () => {
    const from = cpuMicros();
    for (let i = 0; i < REQUESTS / ROUNDS; i++) one(i);
    return (cpuMicros() - from) / (REQUESTS / ROUNDS);
  });
  for (const lease of open) lease.settle("ok");
  return Math.min(...times);
}

const rows: [string, BalanceConfig, boolean, number, Places?][] = [
  ["p2c", "p2c", false, Number.POSITIVE_INFINITY],
  ["p2c, weights", "p2c", true, Number.POSITIVE_INFINITY],
  ["p2c, one at a time each", "p2c", false, 1],
  ["p2c, two locations", "p2c", false, Number.POSITIVE_INFINITY, "half far"],
  ["p2c, and spilling", "p2c", false, Number.POSITIVE_INFINITY, "half far, spilling"],
  ["roundRobin", "roundRobin", false, Number.POSITIVE_INFINITY],
  ["random", "random", false, Number.POSITIVE_INFINITY],
  ["leastRequest", "leastRequest", false, Number.POSITIVE_INFINITY],
  ["consistentHash", { consistentHash: { cookie: "sid" } }, false, Number.POSITIVE_INFINITY],
];
console.log(`${runtimeName} ${runtimeVersion}: µs of CPU a request, by number of servers`);
console.log(["".padEnd(24), ...SIZES.map((size) => String(size).padStart(8))].join(""));
for (const [name, balance, weighted, most, places = "one place"] of rows) {
  const cells = SIZES.map((size) =>
    most * size <= OTHERS
      ? "–".padStart(8)
      : measure(poolOf(balance, size, weighted, most, places), typeof balance === "object")
          .toFixed(2)
          .padStart(8),
  );
  console.log(name.padEnd(24) + cells.join(""));
}
lag.stop();
