// Obtains one host's certificate, and may be told to die on the way; ends when it is stored and nothing is left over.
// argv: directory, file with the CA of its HTTPS, storage (a folder, or nats://SERVER/BUCKET with a copy in CRASH_COPY), host, the change of storage to die at (0: none), before or after it.
import { readFileSync } from "node:fs";
import { type Clock, systemClock, systemRandom } from "../../src/clock.ts";
import { createLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { openFilesystemStorage } from "../../src/storage/filesystem.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";
import { parseFleetKeys } from "../../src/storage/seal.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { createHttpChallenge } from "../../src/tls/challenge.ts";
import { createAcmeIssuer } from "../../src/tls/issuer.ts";
import { createCertificateManager } from "../../src/tls/manager.ts";
import { createResolver } from "../../src/tls/resolver.ts";

const [directory = "", caPath = "", root = "", host = "", at = "0", when = ""] = process.argv.slice(2);
const log = createLog({ level: "debug", write: (line) => void process.stdout.write(line) });
// Time has gone by since the crash: enough for the back-off after one.
const clock: Clock = { ...systemClock, wall: () => systemClock.wall() + (at === "0" ? 10_000 : 0) };
const folder = open();
let changes = 0;

function open(): Storage {
  const [, server, bucket] = /^nats:\/\/([^/]+)\/(\w+)$/.exec(root) ?? [];
  if (server === undefined || bucket === undefined) return openFilesystemStorage(root, { clock, log });
  return openNatsStorage({
    place: { servers: [server], bucket },
    keys: parseFleetKeys(process.env.SKERRY_FLEET_KEY ?? "", "SKERRY_FLEET_KEY"),
    copy: process.env.CRASH_COPY ?? "",
    clock,
    log,
  });
}

/** kill -9, in the middle of it all. */
function mayDie(now: string): void {
  if (now === when && changes === Number(at)) process.kill(process.pid, "SIGKILL");
}
async function change<T>(work: () => Promise<T>): Promise<T> {
  changes++;
  mayDie("before");
  const done = await work();
  mayDie("after");
  return done;
}
const storage: Storage = {
  ...folder,
  store: (key, value) => change(() => folder.store(key, value)),
  delete: (key) => change(() => folder.delete(key)),
  ...(folder.update && { update: (key, next) => change(() => folder.update!(key, next)) }),
};

const challenge = createHttpChallenge();
const trustedCa = readFileSync(caPath, "utf8");
const config = { directory, trustedCa, email: undefined, agreeToTerms: true };
const manager = createCertificateManager({
  hosts: [host],
  storage,
  issuer: createAcmeIssuer({ config, storage, challenge, clock, log }),
  resolver: createResolver(),
  clock,
  random: systemRandom,
  log,
  metrics: createMetrics(),
});
await manager.start();
const watch = async (): Promise<void> => {
  const left = [...(await folder.list("orders/")), ...(await folder.list("ledger/"))];
  if (manager.status()[0]?.state !== "valid" || left.length > 0) {
    systemClock.after(20, () => void watch());
    return;
  }
  await manager.close();
  process.stdout.write(`${JSON.stringify({ event: "done", changes })}\n`);
  process.exit(0);
};
await watch();
// Timers of the clock keep no process alive.
setInterval(() => {}, 1000);
