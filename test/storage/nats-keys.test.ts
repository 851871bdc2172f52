/** Subjects of the bucket, and those that no storage key encodes to, whoever wrote them. */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";
import { openBucket } from "../../src/storage/nats-bucket.ts";
import { connectToNats } from "../../src/storage/nats-connection.ts";
import { decodeKey, encodeKey } from "../../src/storage/nats-keys.ts";
import { startNats } from "../support/nats.ts";
import { eventually } from "../support/processes.ts";

test.each(["certificates/app.example.com", "a=b/c.d", "..a/b"])("%s is the same again", (key) => {
  expect(decodeKey(encodeKey(key))).toBe(key);
});

test.each([
  "=2E=2E.=2E=2E.planted",
  "certificates.=2E=2E.=2E=2E.planted",
  "=2E.a",
  "/etc/planted",
  "a/b",
  "a~",
  "=fleet",
])("%s is no storage key", (subject) => {
  expect(decodeKey(subject)).toBeUndefined();
});

test("what a stranger writes into the bucket puts no file outside the copy, and hides no value", async () => {
  const nats = await startNats();
  const folder = await mkdtemp(join(tmpdir(), "skerry-nats-keys-"));
  const place = { servers: [nats.servers[0]!], bucket: "skerry" };
  const parts = { clock: systemClock, log: silentLog };
  const storage = openNatsStorage({
    place,
    keys: [randomBytes(32)],
    copy: join(folder, "a", "copy"),
    ...parts,
  });
  const { signal } = new AbortController();
  const stranger = await connectToNats(place, { clock: systemClock, name: "x", signal, onFailure() {} });
  try {
    await storage.check();
    const bucket = await openBucket(stranger, {
      name: "skerry",
      replicas: 1,
      make: false,
      clock: systemClock,
    });
    await bucket.put("=2E=2E.=2E=2E.planted", Buffer.from("x"));
    await bucket.put("certificates.=2E=2E", Buffer.from("x"));
    // The copy is written in order, so what came after these tells that their turn is over.
    await storage.store("certificates/b", Buffer.from("value"));
    await eventually("the copy of the value", () =>
      existsSync(join(folder, "a", "copy", "certificates", "b~")),
    );
    expect(existsSync(join(folder, "planted~"))).toBe(false);
    expect(await storage.list("")).toEqual(["certificates/b"]);
  } finally {
    await stranger.close();
    await storage.close();
    await nats.close();
    await rm(folder, { recursive: true, force: true });
  }
});
