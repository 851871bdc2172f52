import { expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { type Bundle, bundleOf } from "../../src/tls/bundle.ts";
import { createLocalCa } from "../../src/tls/local-ca.ts";
import { createVault } from "../../src/tls/vault.ts";

const HOST = "a.example.test";

test("a certificate that cannot be stored is kept by this edge, unless what it has is newer", async () => {
  const ca = await createLocalCa(systemClock);
  const pair = await ca.issueFor([HOST]);
  const made = (generation: number): Bundle =>
    bundleOf(pair, { host: HOST, issuer: "local", generation, obtainedAt: 0 }, "test");
  const memory = createMemoryStorage();
  let isAway = false;
  // What is stored and what is kept is one value here, as it is for who starts while storage is away.
  const storage: Storage = {
    ...memory,
    async update(key, change) {
      if (isAway) throw new Error("away");
      const next = change(await memory.load(key));
      if (next) await memory.store(key, next);
      return next !== undefined;
    },
    keep: (key, value) => memory.store(key, value),
    away: () => (isAway ? { since: 0, reason: "test" } : undefined),
  };
  const vault = createVault(storage, silentLog, () => 0);
  await vault.store(made(1));
  isAway = true;
  await expect(vault.store(made(2))).rejects.toThrow("away");
  expect((await vault.load(HOST))?.generation).toBe(2);
  await expect(vault.store(made(1))).rejects.toThrow("away");
  expect((await vault.load(HOST))?.generation).toBe(2);
});
