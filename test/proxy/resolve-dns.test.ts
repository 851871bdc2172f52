import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DnsServer, type Said, startDns, type Type } from "../support/dns.ts";
import { command, type Runtime } from "../support/edge.ts";
import { run } from "../support/processes.ts";

const NOTHING: Said = { ttl: 0, records: [] };
const srv = (port: number, target: string, priority = 10, weight = 5): object => ({
  priority,
  weight,
  port,
  target,
});
const RECORDS: Record<string, Partial<Record<Type, Said>>> = {
  "four.test": { A: { ttl: 7, records: ["10.0.0.1", "10.0.0.2"] } },
  "six.test": { AAAA: { ttl: 9, records: ["fd00::5"] } },
  "both.test": { A: { ttl: 30, records: ["10.0.0.3"] }, AAAA: { ttl: 3, records: ["fd00::3"] } },
  "zero.test": { A: { ttl: 0, records: ["10.0.0.4"] } },
  "half.test": { A: { ttl: 5, records: ["10.0.0.6"] }, AAAA: "SERVFAIL" },
  "mixed.test": { A: NOTHING, AAAA: "SERVFAIL" },
  "empty.test": { A: NOTHING, AAAA: NOTHING },
  "ill.test": { A: "SERVFAIL", AAAA: "SERVFAIL" },
  "no.test": { A: "REFUSED", AAAA: "REFUSED" },
  "mute.test": { A: "silence", AAAA: "silence" },
  "svc.test": {
    SRV: {
      ttl: 60,
      records: [srv(81, "four.test"), srv(82, "six.test", 10, 0), srv(83, "both.test", 20)] as never,
    },
  },
  "gone.svc.test": { SRV: { ttl: 60, records: [srv(81, "nowhere.test"), srv(82, "zero.test")] as never } },
  "off.svc.test": { SRV: { ttl: 60, records: [srv(0, ".")] as never } },
};
const say = (name: string, type: Type): Said => {
  const known = RECORDS[name];
  return known ? (known[type] ?? NOTHING) : "NXDOMAIN";
};

let dns: DnsServer;
let hostsFile: string;
beforeAll(async () => {
  dns = await startDns(say);
  hostsFile = join(mkdtempSync(join(tmpdir(), "skerry-hosts-")), "hosts");
  writeFileSync(
    hostsFile,
    "# comment four.test\n127.0.0.9 Own.test other.test # six.test\n::9 own.test\nbad line\n",
  );
});
afterAll(() => dns.close());

type Result = { endpoints?: object[]; ttlMs?: number; code?: string; ms?: number };
async function ask(runtime: Runtime, server: string, ...names: string[]): Promise<Result[]> {
  const [program, ...args] = command(runtime, "test/proxy/resolve-script.ts");
  const { stdout, stderr, code } = await run(program, [...args, server, hostsFile, ...names]);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as Result[];
}
const plain = (...addresses: string[]): object[] => addresses.map((address) => ({ address }));

describe.each(["node", "bun", "deno"] as const)("on %s", (runtime) => {
  test("every A and AAAA record is an endpoint, with the least TTL", async () => {
    expect(await ask(runtime, dns.address, "four.test", "six.test", "both.test", "zero.test")).toEqual([
      { endpoints: plain("10.0.0.1", "10.0.0.2"), ttlMs: 7000 },
      { endpoints: plain("fd00::5"), ttlMs: 9000 },
      { endpoints: plain("10.0.0.3", "fd00::3"), ttlMs: 3000 },
      { endpoints: plain("10.0.0.4"), ttlMs: 0 },
    ]);
  });

  test("one family is enough, whatever is said of the other", async () => {
    expect(await ask(runtime, dns.address, "half.test")).toEqual([
      { endpoints: plain("10.0.0.6"), ttlMs: 5000 },
    ]);
  });

  test("no addresses, NXDOMAIN, SERVFAIL, REFUSED and silence are failures, within the time", async () => {
    const names = ["empty.test", "nx.test", "ill.test", "mixed.test", "no.test", "mute.test"];
    const results = await ask(runtime, dns.address, ...names);
    for (const [index, result] of results.entries()) {
      expect(result.code, names[index]).toMatch(/^E[A-Z]+$/);
      expect(result.ms).toBeLessThan(5000);
    }
    expect(results.at(-1)?.code).toBe("ETIMEOUT");
  });

  test("the hosts file goes before DNS, and is read each time", async () => {
    expect(await ask(runtime, dns.address, "own.test", "OTHER.test.")).toEqual([
      { endpoints: plain("127.0.0.9", "::9") },
      { endpoints: plain("127.0.0.9") },
    ]);
    expect(dns.asked.some((question) => /^(own|other)/.test(question))).toBe(false);
  });

  test("SRV records give ports and weights, those of the lowest priority alone", async () => {
    const [all, gone, off] = await ask(
      runtime,
      dns.address,
      "srv:svc.test",
      "srv:gone.svc.test",
      "srv:off.svc.test",
    );
    expect(all).toEqual({
      endpoints: [
        { address: "10.0.0.1", port: 81, weight: 5 },
        { address: "10.0.0.2", port: 81, weight: 5 },
        { address: "fd00::5", port: 82, weight: 0.1 },
      ],
      ttlMs: 5000,
    });
    expect(gone).toEqual({ endpoints: [{ address: "10.0.0.4", port: 82, weight: 5 }], ttlMs: 0 });
    expect(off?.code).toBe("ENODATA");
  });

  test("what DNS does not know, the system may", async () => {
    const [result] = await ask(runtime, "system", "localhost");
    expect(result?.endpoints).toContainEqual({ address: "127.0.0.1" });
  });
});
