import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { createLog } from "../../src/log.ts";
import { createCertificateFolder } from "../../src/tls/folder-keeper.ts";
import type { LocalCa } from "../../src/tls/local-ca.ts";
import { testCa } from "../support/ca.ts";
import { manualClock } from "../support/manual-clock.ts";

let ca: LocalCa;
let folder: string;

beforeEach(async () => {
  ca ??= await testCa();
  folder = mkdtempSync(join(tmpdir(), "skerry-folder-"));
});

async function put(names: string[], cert: string, key: string, lifetimeMs?: number): Promise<void> {
  const pair = await ca.issueFor(names, lifetimeMs);
  writeFileSync(join(folder, cert), pair.chain);
  writeFileSync(join(folder, key), pair.key);
}

function open() {
  const lines: Record<string, unknown>[] = [];
  const clock = manualClock();
  let changes = 0;
  const kept = createCertificateFolder({
    path: folder,
    clock,
    log: createLog({ write: (line) => void lines.push(JSON.parse(line) as Record<string, unknown>) }),
    onChange: () => void changes++,
  });
  const refused = () => lines.filter(({ event }) => event === "certificate.folder_refused");
  return { kept, refused, clock, changes: () => changes };
}

describe("a folder of certificates", () => {
  test("serves the names that each of its pairs covers, however it is named", async () => {
    await put(["a.example.com", "www.example.com"], "a.crt", "a.key");
    await put(["*.wild.example.com"], "wild.pem", "wild.key");
    mkdirSync(join(folder, "c.example.com"));
    await put(["c.example.com"], "c.example.com/fullchain.pem", "c.example.com/privkey.pem");
    mkdirSync(join(folder, "secret"));
    await put(["d.example.com"], "secret/tls.crt", "secret/tls.key");
    writeFileSync(join(folder, "README"), "not a pair");
    writeFileSync(join(folder, "lonely.key"), "no certificate");
    const { kept, refused } = open();
    await kept.load();
    const certOf = (host: string) => kept.find(host)?.certPath.slice(folder.length + 1);
    expect(certOf("a.example.com")).toBe("a.crt");
    expect(certOf("www.example.com")).toBe("a.crt");
    expect(certOf("x.wild.example.com")).toBe("wild.pem");
    expect(certOf("*.wild.example.com")).toBe("wild.pem");
    expect(certOf("x.y.wild.example.com")).toBeUndefined();
    expect(certOf("c.example.com")).toBe("c.example.com/fullchain.pem");
    expect(kept.find("c.example.com")?.keyPath).toBe(join(folder, "c.example.com/privkey.pem"));
    expect(certOf("d.example.com")).toBe("secret/tls.crt");
    expect(certOf("e.example.com")).toBeUndefined();
    expect(refused()).toEqual([]);
  });

  test("prefers the pair that is valid the longest", async () => {
    await put(["a.example.com"], "new.crt", "new.key", 90 * 86_400_000);
    await put(["a.example.com"], "old.crt", "old.key", 10 * 86_400_000);
    const { kept } = open();
    await kept.load();
    expect(kept.find("a.example.com")?.certPath).toBe(join(folder, "new.crt"));
  });

  test("refuses a damaged pair in one line, once, and keeps what it was before", async () => {
    await put(["a.example.com"], "a.crt", "a.key");
    await put(["b.example.com"], "b.crt", "b.key");
    renameSync(join(folder, "b.key"), join(folder, "a.key"));
    const { key } = await ca.issueFor(["b.example.com"]);
    writeFileSync(join(folder, "b.key"), key);
    const first = open();
    await first.kept.load();
    expect(first.refused().map(({ message }) => message)).toEqual([
      `${join(folder, "a.crt")} does not belong to its private key`,
      `${join(folder, "b.crt")} does not belong to its private key`,
    ]);
    expect(first.kept.find("a.example.com")).toBeUndefined();
    await put(["a.example.com"], "a.crt", "a.key");
    await first.kept.look();
    expect(first.kept.find("a.example.com")).toBeDefined();
    writeFileSync(join(folder, "a.crt"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    await first.kept.look();
    await first.kept.look();
    expect(first.kept.find("a.example.com")).toBeDefined();
    expect(first.refused()).toHaveLength(3);
    expect(first.refused()[2]).toMatchObject({ kept: true });
  });

  test("tells of no change at its first reading, whose caller asks then", async () => {
    await put(["first.example.com"], "first.crt", "first.key");
    const { kept, changes } = open();
    await kept.load();
    expect(kept.find("first.example.com")).toBeDefined();
    expect(changes()).toBe(0);
    await kept.close();
    rmSync(join(folder, "first.crt"));
  });

  test("follows pairs that come, change and go, and one that is away takes nothing", async () => {
    const { kept, clock, changes, refused } = open();
    await kept.load();
    expect(changes()).toBe(0);
    kept.begin();
    await put(["a.example.com"], "a.crt", "a.key");
    await clock.advance(30_000);
    await kept.look();
    expect(kept.find("a.example.com")).toBeDefined();
    expect(changes()).toBe(1);
    renameSync(folder, `${folder}.away`);
    await kept.look();
    expect(kept.find("a.example.com")).toBeDefined();
    expect(refused()).toHaveLength(1);
    renameSync(`${folder}.away`, folder);
    rmSync(join(folder, "a.crt"));
    await kept.look();
    expect(kept.find("a.example.com")).toBeUndefined();
    expect(changes()).toBe(2);
    await kept.close();
  });
});
