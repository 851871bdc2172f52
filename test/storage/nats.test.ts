import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { type ContractPlace, storageContract } from "./contract.ts";

let one: Nats;
let three: Nats;
const keys = [randomBytes(32)];

beforeAll(async () => {
  [one, three] = await Promise.all([startNats(), startNats({ servers: 3 })]);
}, 60_000);
afterAll(async () => {
  await Promise.all([one?.close(), three?.close()]);
});

/** A bucket of its own; each opening has a copy of its own, as each edge has. */
async function placeAt(nats: Nats): Promise<ContractPlace> {
  const folder = await mkdtemp(join(tmpdir(), "skerry-nats-copy-"));
  const bucket = `b${randomBytes(8).toString("hex")}`;
  let opened = 0;
  return {
    open: async () =>
      openNatsStorage({
        place: { servers: nats.servers, bucket },
        keys,
        copy: join(folder, String(opened++)),
        clock: systemClock,
        log: silentLog,
      }),
    close: () => rm(folder, { recursive: true, force: true }),
  };
}

storageContract("one NATS server", () => placeAt(one), { shared: true });
storageContract("a NATS cluster of three", () => placeAt(three), { shared: true });
