/** What an idle connection costs: memory before and after 2,000 of them were opened and used once. */

import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { memory } from "../cpu.ts";
import { type Child, launch } from "../process.ts";
import type { Bench, Sample, Scenario } from "./scenario.ts";

const CONNECTIONS = 2_000;
/** Opened and closed first, so that what a proxy loads and caches at the first request is not counted. */
const WARM_CONNECTIONS = 100;
const SETTLE_MS = 1_500;
const OPEN_TIMEOUT_MS = 60_000;

const CLIENTS = fileURLToPath(new URL("../programs/idle-clients.ts", import.meta.url));

async function sample(bench: Bench): Promise<Sample> {
  const warm = await open(bench, WARM_CONNECTIONS);
  await warm.child.stop();
  await wait(SETTLE_MS);
  const before = memory(bench.target.pids());
  const idle = await open(bench, CONNECTIONS);
  try {
    await wait(SETTLE_MS);
    const after = memory(bench.target.pids());
    const closed = idle.closedSince();
    return {
      values: {
        kibEach: (after.pssKib - before.pssKib) / CONNECTIONS,
        pssBeforeMib: before.pssKib / 1024,
        pssMib: after.pssKib / 1024,
        rssMib: after.rssKib / 1024,
      },
      errors: warm.errors + idle.errors + closed,
    };
  } finally {
    await idle.child.stop();
  }
}

interface OpenClients {
  readonly child: Child;
  readonly errors: number;
  /** How many the proxy has closed again. */
  closedSince(): number;
}

async function open(bench: Bench, count: number): Promise<OpenClients> {
  const child = launch(
    "idle-clients",
    [process.execPath, CLIENTS, String(bench.target.site.port), String(count)],
    {
      cores: bench.loadCores,
      keepAll: true,
    },
  );
  const giveUp = performance.now() + OPEN_TIMEOUT_MS;
  while (child.running() && performance.now() < giveUp) {
    const ready = /ready errors=(\d+)/.exec(child.output().stdout);
    if (ready !== null) {
      return {
        child,
        errors: Number(ready[1]),
        closedSince: () => child.output().stdout.split("closed\n").length - 1,
      };
    }
    await wait(50);
  }
  await child.stop();
  throw new Error(
    `${count} connections were not open in ${OPEN_TIMEOUT_MS / 1000} s: ${child.output().stderr}`,
  );
}

export const idle: Scenario = {
  name: "idle",
  about: `memory of ${CONNECTIONS.toLocaleString("en")} idle TLS connections, each after one request`,
  cases: [
    {
      id: "idle",
      title: `${CONNECTIONS.toLocaleString("en")} idle TLS connections`,
      protocol: "h1",
      fresh: true,
      metrics: [
        { key: "kibEach", title: "KiB each", digits: 1 },
        { key: "pssBeforeMib", title: "PSS MiB before", digits: 0 },
        { key: "pssMib", title: "PSS MiB after", digits: 0 },
        { key: "rssMib", title: "RSS MiB after", digits: 0 },
      ],
      sample,
    },
  ],
};
