/** Changes of hosts and servers in every storage: of those at once none is lost, and edges hear of them. */
import { randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { ResolvedConfig } from "../../src/config/config.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { type Dynamic, openDynamic } from "../../src/edge/dynamic.ts";
import { createDynamicBook, DYNAMIC_KEY } from "../../src/edge/dynamic-book.ts";
import { silentLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { openFilesystemStorage } from "../../src/storage/filesystem.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { eventually } from "../support/processes.ts";

const base = resolveConfig({
  acme: { email: "ops@example.com", agreeToTerms: true },
  backends: { web: { servers: ["http://10.0.0.5:8000"] } },
  hosts: { "app.example.com": { backend: "web" } },
});

let one: Nats;
let three: Nats;
beforeAll(async () => {
  [one, three] = await Promise.all([startNats(), startNats({ servers: 3 })]);
}, 60_000);
afterAll(() => Promise.all([one?.close(), three?.close()]));

const parts = { clock: systemClock, log: silentLog };
const folder = (): string => mkdtempSync(join(tmpdir(), "skerry-book-"));
const keys = [randomBytes(32)];
const natsPlace = (nats: Nats): (() => Storage) => {
  const bucket = `b${randomBytes(8).toString("hex")}`;
  return () => openNatsStorage({ place: { servers: nats.servers, bucket }, keys, copy: folder(), ...parts });
};

/** What opens the same place again, as another edge does. */
const PLACES: [string, () => () => Storage][] = [
  [
    "a folder",
    () => {
      const root = folder();
      return () => openFilesystemStorage(root, parts);
    },
  ],
  [
    "memory",
    () => {
      const storage = createMemoryStorage();
      return () => storage;
    },
  ],
  ["one NATS server", () => natsPlace(one)],
  ["a NATS cluster of three", () => natsPlace(three)],
];

describe.each(PLACES)("in %s", (_name, place) => {
  const storages: Storage[] = [];
  const dynamics: Dynamic[] = [];
  afterEach(async () => {
    await Promise.all(dynamics.splice(0).map((dynamic) => dynamic.close()));
    await Promise.all(storages.splice(0).map((storage) => storage.close()));
  });
  const opened = async (open: () => Storage): Promise<Storage> => {
    const storage = open();
    storages.push(storage);
    await storage.check();
    return storage;
  };
  /** An edge's half, and the configs that it was told to serve. */
  const edge = async (open: () => Storage): Promise<{ dynamic: Dynamic; served: ResolvedConfig[] }> => {
    const storage = await opened(open);
    const dynamic = await openDynamic(base, { ...parts, storage, metrics: createMetrics(), byAcme: true });
    dynamics.push(dynamic);
    const served: ResolvedConfig[] = [];
    dynamic.start(async (config) => void served.push(config));
    return { dynamic, served };
  };

  test("twenty changes at once by four storages are all kept, each counted once", async () => {
    const open = place();
    // The first makes what is there to be made.
    const books = [createDynamicBook(await opened(open))];
    for (let index = 0; index < 3; index++) books.push(createDynamicBook(await opened(open)));
    const changes = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        books[index % 4]!.edit(
          index % 2
            ? { kind: "add-host", host: `h${index}.example.com`, backend: "web" }
            : { kind: "add-server", backend: "web", url: `http://10.0.1.${index}` },
          base,
        ),
      ),
    );
    const { generation, hosts, servers } = await books[0]!.read();
    expect(hosts.size).toBe(10);
    expect(servers.get("web")?.length).toBe(10);
    expect(generation).toBe(20);
    expect(changes.map((change) => change.generation).sort((a, b) => a - b)).toEqual(
      Array.from({ length: 20 }, (_, index) => index + 1),
    );
  });

  test("a change that one edge makes is served there when it is answered, and by the others within a second", async () => {
    const open = place();
    const [first, second] = [await edge(open), await edge(open)];
    const { changed } = await first.dynamic.actions.edit({
      kind: "add-host",
      host: "a.example.com",
      backend: "web",
    });
    const began = performance.now();
    expect(changed).toBe(true);
    expect(first.served.at(-1)?.hosts.has("a.example.com")).toBe(true);
    await eventually("the other serves it", () => second.served.at(-1)?.hosts.has("a.example.com"));
    expect(performance.now() - began).toBeLessThan(1000);
    expect(second.dynamic.actions.generation()).toBe(1);
    await second.dynamic.actions.edit({ kind: "remove-host", host: "a.example.com" });
    await eventually("it is gone", () => first.served.at(-1)?.hosts.has("a.example.com") === false);
  });

  test("another config keeps what was added, and one that is refused changes nothing", async () => {
    const { dynamic, served } = await edge(place());
    await dynamic.actions.edit({ kind: "add-host", host: "a.example.com", backend: "web" });
    const next = { ...base, hosts: new Map() };
    const refuse = (): Promise<void> => Promise.reject(new Error("no"));
    await expect(dynamic.rebase(next, refuse)).rejects.toThrow("no");
    expect([...dynamic.config().hosts.keys()]).toEqual(["app.example.com", "a.example.com"]);
    await dynamic.rebase(next, async (config) => void served.push(config));
    expect([...(served.at(-1)?.hosts.keys() ?? [])]).toEqual(["a.example.com"]);
  });

  test("a change that is made while the edge still starts is served as soon as it has", async () => {
    const storage = await opened(place());
    const dynamic = await openDynamic(base, { ...parts, storage, metrics: createMetrics(), byAcme: true });
    dynamics.push(dynamic);
    await dynamic.actions.edit({ kind: "add-host", host: "a.example.com", backend: "web" });
    const served: ResolvedConfig[] = [];
    dynamic.start(async (config) => void served.push(config));
    await eventually("it is served", () => served.at(-1)?.hosts.has("a.example.com"));
    expect(dynamic.actions.generation()).toBe(1);
  });

  test("an edge that is closed follows no other config", async () => {
    const { dynamic, served } = await edge(place());
    await dynamic.close();
    const count = served.length;
    await expect(dynamic.rebase(base, async (config) => void served.push(config))).rejects.toThrow(/closing/);
    expect(served.length).toBe(count);
  });

  test("what cannot be read is told by changes, and edges go on with what they had until it can", async () => {
    const open = place();
    const { dynamic, served } = await edge(open);
    await dynamic.actions.edit({ kind: "add-host", host: "a.example.com", backend: "web" });
    const storage = await opened(open);
    const good = (await storage.load(DYNAMIC_KEY))!;
    await storage.store(DYNAMIC_KEY, new TextEncoder().encode("{"));
    const edit = { kind: "add-host", host: "b.example.com", backend: "web" } as const;
    await expect(dynamic.actions.edit(edit)).rejects.toThrow(/^storage: dynamic\/config cannot be read/);
    expect(dynamic.config().hosts.has("a.example.com")).toBe(true);
    await storage.store(DYNAMIC_KEY, good);
    await dynamic.actions.edit(edit);
    expect([...(served.at(-1)?.hosts.keys() ?? [])]).toEqual([
      "app.example.com",
      "a.example.com",
      "b.example.com",
    ]);
  });
});
