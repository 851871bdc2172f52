import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { openStorage } from "../../src/edge/storage.ts";
import { silentLog } from "../../src/log.ts";
import { makeFleetKey } from "../../src/storage/seal.ts";

const base = {
  backends: { web: { servers: ["http://127.0.0.1:1"] } },
  hosts: { "a.example.com": { backend: "web" } },
};
const resolve = (more: object): ReturnType<typeof resolveConfig> =>
  resolveConfig({ ...base, ...more }, { folder: "/srv/edge", certificates: "local" });
const problem = (more: object): string => {
  try {
    resolve(more);
    return "none";
  } catch (thrown) {
    return (thrown as Error).message;
  }
};

describe("storage in NATS", () => {
  test("is a URL with one server or several, and the port is 4222 where none is said", () => {
    const { storage, fleet } = resolve({ storage: "nats://10.0.0.1,nats.example.com:5222" });
    expect(storage).toBe("nats://10.0.0.1:4222,nats.example.com:5222");
    expect(fleet).toMatchObject({
      servers: ["10.0.0.1:4222", "nats.example.com:5222"],
      bucket: "skerry",
      copy: "/srv/edge/certs/fleet",
      keyFile: undefined,
    });
  });

  test("takes a password out of the URL, so that nothing that names the place tells it", () => {
    const { storage, fleet } = resolve({ storage: "nats://skerry:hun%2Fter2@10.0.0.1:4222" });
    expect(storage).toBe("nats://10.0.0.1:4222");
    expect(fleet?.credentials).toBe("skerry:hun/ter2");
  });

  test.each(["nats://a%zz@h:4222", "nats://user:geheim,pass@h:4222"])(
    "tells nothing of what %s holds",
    (storage) => {
      const said = problem({ storage });
      expect(said).toContain("storage: not nats://host:port,host:port; in a password before them");
      expect(said).not.toMatch(/geheim|zz/);
    },
  );

  test("is an object that says more", () => {
    const nats = {
      servers: ["10.0.0.1"],
      replicas: 3,
      bucket: "two",
      credentials: "nats.txt",
      copy: "copy",
      tls: {},
    };
    expect(resolve({ storage: { nats }, fleetKey: "fleet.key" }).fleet).toMatchObject({
      servers: ["10.0.0.1:4222"],
      replicas: 3,
      bucket: "two",
      credentialsFile: "/srv/edge/nats.txt",
      copy: "/srv/edge/copy",
      keyFile: "/srv/edge/fleet.key",
    });
  });

  test("is none where it is a folder", () => {
    expect(resolve({ storage: "file:./certs" }).fleet).toBeUndefined();
    expect(resolve({}).storage).toBe("file:/srv/edge/certs");
  });

  test.each([
    ["nats://", /^storage: not nats:\/\/host:port,host:port: /],
    ["nats://u:hunter2@:0", /^storage: not nats:\/\/host:port/],
    [{ nats: { servers: [] } }, /^storage\.nats\.servers: /],
    [{ nats: { servers: ["a:1:2"] } }, /^storage\.nats\.servers\[0\]: /],
    [
      { nats: { servers: ["a"], bukket: "x" } },
      /^storage\.nats\.bukket: unknown field; did you mean "bucket"\?/,
    ],
    [{ nats: { servers: ["a"], bucket: "a b" } }, /^storage\.nats\.bucket: 1 to 64 letters/],
    [5, /^storage: expected "file:FOLDER", "nats:\/\/host:port" or/],
  ])("%j is refused in words", (storage, expected) => {
    expect(problem({ storage })).toMatch(expected);
    expect(problem({ storage })).not.toContain("hunter2");
  });

  test("is not opened without a fleet key, and with one from a file or the environment", async () => {
    const folder = mkdtempSync(join(tmpdir(), "skerry-fleet-key-"));
    const parts = { clock: systemClock, log: silentLog };
    const before = process.env.SKERRY_FLEET_KEY;
    delete process.env.SKERRY_FLEET_KEY;
    try {
      const bare = resolve({ storage: "nats://127.0.0.1:1" });
      expect(() => openStorage(bare, parts)).toThrow(/SKERRY_FLEET_KEY .*skerry fleet key/);
      const file = join(folder, "fleet.key");
      const named = resolve({ storage: "nats://127.0.0.1:1", fleetKey: file });
      expect(() => openStorage(named, parts)).toThrow(/fleetKey: cannot read/);
      writeFileSync(file, `# of 2026\n${makeFleetKey()}\n`);
      await openStorage(named, parts).close();
      process.env.SKERRY_FLEET_KEY = makeFleetKey();
      await openStorage(bare, parts).close();
    } finally {
      if (before === undefined) delete process.env.SKERRY_FLEET_KEY;
      else process.env.SKERRY_FLEET_KEY = before;
    }
  });
});
