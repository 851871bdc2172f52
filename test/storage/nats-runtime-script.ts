// Run on each runtime: storage on a real NATS server, as lines of "fact: value". argv: servers, a bucket, a folder, a fleet key.
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";

const [servers = "", bucket = "", folder = "", key = ""] = process.argv.slice(2);
const say = (fact: string, value: unknown): void => console.log(`${fact}: ${value}`);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string => (value ? new TextDecoder().decode(value) : "none");
const open = (name: string): ReturnType<typeof openNatsStorage> =>
  openNatsStorage({
    place: { servers: servers.split(","), bucket },
    keys: [Buffer.from(key, "base64")],
    copy: join(folder, name),
    clock: systemClock,
    log: silentLog,
  });

const edges = ["a", "b", "c", "d"].map(open);
const [a, b] = edges as [ReturnType<typeof open>, ReturnType<typeof open>];
await Promise.all(edges.map((edge) => edge.check()));
const told = new Promise<string>((resolve) => b.watch("certificates/", resolve));
await a.store("certificates/_.example.test", bytes("one"));
say("told of", await told);
say("value", text(await b.load("certificates/_.example.test")));
await a.store("large", new Uint8Array(1 << 20).fill(7));
say("large", (await b.load("large"))?.length);
say("list", (await a.list("")).sort());
await b.delete("large");
say("deleted", text(await a.load("large")));
await Promise.all(
  edges.flatMap((edge) =>
    Array.from({ length: 5 }, () =>
      edge.update("count", (now) => bytes(String(now ? Number(text(now)) + 1 : 1))),
    ),
  ),
);
say("counted by four edges", text(await a.load("count")));
let inside = 0;
let most = 0;
let turns = 0;
await Promise.all(
  Array.from({ length: 20 }, (_, index) =>
    edges[index % 4]!.withLock("race", async () => {
      most = Math.max(most, ++inside);
      await a.load("count");
      inside--;
      turns++;
    }),
  ),
);
say("turns", `${turns}, at once ${most}`);
await Promise.all(edges.map((edge) => edge.close()));
process.exit(0);
