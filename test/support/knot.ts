/** Runs Knot, an authoritative name server, with one zone that a key may change. Loopback only. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "./ports.ts";
import { type Child, eventually, start } from "./processes.ts";

export interface Knot {
  readonly port: number;
  /** "127.0.0.1:53535" */
  readonly address: string;
  readonly key: { readonly name: string; readonly algorithm: "hmac-sha256"; readonly secret: string };
  stop(): Promise<void>;
}

export interface KnotOptions {
  /** Zone name → records, each a line of a zone file. Every zone has ns1, which is Knot itself. */
  zones: Readonly<Record<string, readonly string[]>>;
  /** Whether it says so whenever an answer by UDP would hold more than its question. @default false */
  tcpOnly?: boolean;
}

export async function startKnot({ zones, tcpOnly = false }: KnotOptions): Promise<Knot> {
  const folder = mkdtempSync(join(tmpdir(), "skerry-knot-"));
  const [port = 0] = await freePorts(1);
  const key = {
    name: "edge.key",
    algorithm: "hmac-sha256" as const,
    secret: Buffer.from("thirty-two bytes of shared secret").toString("base64"),
  };
  for (const [zone, records] of Object.entries(zones)) {
    const lines = [
      `@ 60 SOA ns1.${zone}. ops.${zone}. 1 60 60 600 1`,
      `@ 60 NS ns1.${zone}.`,
      "ns1 60 A 127.0.0.1",
      ...records,
    ];
    writeFileSync(join(folder, `${zone}.zone`), `$ORIGIN ${zone}.\n${lines.join("\n")}\n`);
  }
  const config = [
    "server:",
    `  rundir: ${folder}`,
    `  listen: 127.0.0.1@${port}`,
    // One address may ask as often as it likes; below, every second UDP answer would be cut.
    ...(tcpOnly ? ["mod-rrl:", "  - id: cut", "    rate-limit: 1", "    slip: 1"] : []),
    "database:",
    `  storage: ${folder}`,
    "log:",
    "  - target: stderr",
    "    any: info",
    "key:",
    `  - id: ${key.name}`,
    `    algorithm: ${key.algorithm}`,
    `    secret: ${key.secret}`,
    "acl:",
    "  - id: edge",
    `    key: ${key.name}`,
    "    action: update",
    "zone:",
    ...Object.keys(zones).flatMap((zone) => [
      `  - domain: ${zone}`,
      `    storage: ${folder}`,
      `    file: ${zone}.zone`,
      "    acl: edge",
      "    zonefile-sync: -1",
      ...(tcpOnly ? ["    module: mod-rrl/cut"] : []),
    ]),
  ];
  writeFileSync(join(folder, "knot.conf"), `${config.join("\n")}\n`);
  const child: Child = start("/usr/sbin/knotd", ["-c", join(folder, "knot.conf")]);
  await child.saw(/server started/i);
  await eventually("its zones are loaded", () =>
    Object.keys(zones).every((zone) => new RegExp(`\\[${zone}\\.?\\] loaded`).test(child.output())),
  );
  return {
    port,
    address: `127.0.0.1:${port}`,
    key,
    async stop() {
      await child.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
