// What edges do with a fleet's storage, without listeners: a copy on disk, a watch, and cards of themselves and of the others.
// argv: nats server, folder of the copies, how many edges, hosts, agents (with load that changes). SKERRY_FLEET_KEY as edges have it. Prints JSON lines:
// {"event":"ready"} when all have everything, {"event":"seen","key","at"} when an edge has read what changed.
import { join } from "node:path";
import { systemClock, systemRandom } from "../../src/clock.ts";
import { createAnnouncer } from "../../src/fleet/announcer.ts";
import type { AgentRow } from "../../src/fleet/card.ts";
import { createDirectory } from "../../src/fleet/directory.ts";
import { silentLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";
import { parseFleetKeys } from "../../src/storage/seal.ts";

const [server = "", folder = "", count = "1", hosts = "1", agents = "0"] = process.argv.slice(2);
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const now = (): number => performance.timeOrigin + performance.now();
const keys = parseFleetKeys(process.env.SKERRY_FLEET_KEY ?? "", "SKERRY_FLEET_KEY");
const served = new Map(Array.from({ length: Number(hosts) }, (_, n) => [`h${n}.bench.test`, 1]));
const agentRows = (): AgentRow[] =>
  Array.from({ length: Number(agents) }, (_, n) => ({
    ...{
      instance: `${String(n).padStart(6, "0")}7c41d09e`,
      token: "0f3a91bc",
      backend: "web",
      app: `app-${n % 20}`,
    },
    ...{ server: `wormhole:app-${n % 20}-${n}`, labels: { zone: "a" }, release: { sha: "0123456789" } },
    ...{ version: "0.1.0", since: 1_780_000_000_000 + n, connections: 2, state: "available" },
    inFlight: Math.floor(Math.random() * 8),
  }));

await Promise.all(
  Array.from({ length: Number(count) }, async (_, index) => {
    const id = `${process.pid.toString(16).padStart(8, "0")}${index.toString(16).padStart(8, "0")}`;
    const common = { clock: systemClock, random: systemRandom, log: silentLog };
    const place = { servers: [server], bucket: "skerry" };
    const storage = openNatsStorage({ ...common, place, keys, copy: join(folder, id) });
    await storage.check();
    for (const prefix of ["certificates/", "dynamic/"])
      storage.watch(prefix, async (key) => {
        await storage.load(key);
        say({ event: "seen", key, at: now() });
      });
    const directory = createDirectory({ ...common, storage, self: id, onChange() {} });
    await directory.start();
    createAnnouncer({
      ...{ ...common, storage, id, metrics: createMetrics() },
      facts: () => ({
        ...{
          name: `edge-${index}`,
          location: "yvr",
          version: "0.1.0",
          runtime: "node",
          tunnel: "edge.test:443",
        },
        ...{ listen: { http: "[::]:80", https: "[::]:443", admin: "127.0.0.1:9180" }, startedAt: 0 },
        ...{ state: "ready" as const, problems: [], hosts: served.size },
      }),
      agents: agentRows,
      served: () => served,
      servedRevision: () => 1,
    }).start();
  }),
);
say({ event: "ready", at: now() });
// Timers of the clock keep no process alive; the driver ends it.
setInterval(() => {}, 1000);
