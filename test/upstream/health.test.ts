import { beforeEach, expect, test } from "vitest";
import type { HealthConfig } from "../../src/config/config.ts";
import { startHealthChecks } from "../../src/upstream/health.ts";
import { createPool, type Pool } from "../../src/upstream/pool.ts";
import { type ManualClock, manualClock, noTransport, seeded } from "./support.ts";

let clock: ManualClock;
let pool: Pool;
let well: Record<string, boolean | "throws">;
let asked: string[];
let checks: { stop(): void };

const options: HealthConfig = {
  tcp: false,
  path: "/healthz",
  statuses: [[200, 399]],
  body: undefined,
  startUnhealthy: false,
  intervalMs: 1000,
  timeoutMs: 200,
  rise: 2,
  fall: 3,
};

function start(changes: Partial<HealthConfig> = {}): { stop(): void } {
  return startHealthChecks(
    { ...options, ...changes },
    {
      pool,
      clock,
      random: () => 0.5,
      probe: (server, { path, timeoutMs }) => {
        asked.push(`${server.id} ${path} ${timeoutMs}`);
        const answer = well[server.id];
        return answer === "throws" ? Promise.reject(new Error("no")) : Promise.resolve(answer === true);
      },
    },
  );
}

beforeEach(() => {
  clock = manualClock();
  pool = createPool("web", { clock, random: seeded(1) });
  well = { a: true, b: true };
  asked = [];
  pool.add({ id: "a", transport: noTransport });
  pool.add({ id: "b", transport: noTransport });
  checks = start();
});

/** Lets the answers of a round arrive, then begins the next. */
async function rounds(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    for (let turn = 0; turn < 5; turn++) await Promise.resolve();
    clock.advance(1000);
  }
  for (let turn = 0; turn < 5; turn++) await Promise.resolve();
}
const state = (id: string): string => pool.members().find((server) => server.id === id)!.state;

test("every member is asked at once, then each interval", async () => {
  expect(asked).toEqual(["a /healthz 200", "b /healthz 200"]);
  await rounds(2);
  expect(asked).toHaveLength(6);
});

test("as many bad answers as `fall` take a server out, as many good as `rise` bring it back", async () => {
  await rounds(0);
  well.a = false;
  await rounds(2);
  expect(state("a")).toBe("available");
  await rounds(1);
  expect(state("a")).toBe("unhealthy");
  well.a = true;
  await rounds(1);
  expect(state("a")).toBe("unhealthy");
  await rounds(1);
  expect(state("a")).toBe("available");
});

test("a check that throws is a bad answer", async () => {
  await rounds(0);
  well.b = "throws";
  await rounds(3);
  expect(state("b")).toBe("unhealthy");
  expect(pool.lease()!.server.id).toBe("a");
});

test("servers that join are followed and those that leave are forgotten", async () => {
  pool.add({ id: "c", transport: noTransport });
  expect(asked.at(-1)).toBe("c /healthz 200");
  pool.remove("a");
  asked.length = 0;
  await rounds(1);
  expect(asked.map((line) => line[0])).toEqual(["b", "c"]);
});

test("nothing is asked after stop", async () => {
  checks.stop();
  asked.length = 0;
  await rounds(5);
  expect(asked).toEqual([]);
});

test("good answers end an ejection", async () => {
  const [a, b] = pool.members();
  for (let i = 0; i < 3; i++) pool.lease([b!])!.settle("unreachable");
  expect(a!.state).toBe("ejected");
  await rounds(2);
  expect(a!.state).toBe("available");
});

test("the first check of a server that joins decides alone", async () => {
  well.c = false;
  pool.add({ id: "c", transport: noTransport });
  expect(state("c")).toBe("available");
  await rounds(0);
  expect(state("c")).toBe("unhealthy");
  well.c = true;
  await rounds(1);
  expect(state("c")).toBe("unhealthy");
  await rounds(1);
  expect(state("c")).toBe("available");
});

test("a server that was there when checks began is not judged by its first answer alone", async () => {
  checks.stop();
  well.a = false;
  checks = start();
  await rounds(0);
  expect(state("a")).toBe("available");
});

test("with startUnhealthy, a server that joins is out until its first good answer", async () => {
  checks.stop();
  checks = start({ startUnhealthy: true });
  expect(state("a")).toBe("available");
  well.c = true;
  pool.add({ id: "c", transport: noTransport });
  expect(state("c")).toBe("unhealthy");
  await rounds(0);
  expect(state("c")).toBe("available");
});
