/** DNS-01 against Knot, an authoritative name server, and Pebble, which asks it. */
import { X509Certificate } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { TsigKeyConfig } from "../../src/config/config.ts";
import { EdgeError } from "../../src/errors.ts";
import { createLog } from "../../src/log.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { splitChain } from "../../src/tls/certificate.ts";
import { createHttpChallenge } from "../../src/tls/challenge.ts";
import { createCloudflare } from "../../src/tls/cloudflare.ts";
import { type DnsProvider, dnsProvider, dnsSolver } from "../../src/tls/dns-challenge.ts";
import { createDnsClient } from "../../src/tls/dns-client.ts";
import { TYPE } from "../../src/tls/dns-message.ts";
import { textOf } from "../../src/tls/dns-records.ts";
import { ask } from "../../src/tls/dns-wire.ts";
import { createAcmeIssuer } from "../../src/tls/issuer.ts";
import { awaitRecord } from "../../src/tls/propagation.ts";
import { createRfc2136 } from "../../src/tls/rfc2136.ts";
import { type Knot, startKnot } from "../support/knot.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePorts } from "../support/ports.ts";

const clock = systemClock;
const never = new AbortController().signal;
let knot: Knot;
let pebble: Pebble;

beforeAll(async () => {
  knot = await startKnot({
    zones: {
      "example.test": ["_acme-challenge.aliased 60 CNAME aliased.acme.example.test.", 'long 60 TXT "x" "y"'],
    },
  });
  pebble = await startPebble({ httpPort: (await freePorts(1))[0]!, dnsServer: knot.address });
});

afterAll(async () => {
  await pebble?.close();
  await knot?.stop();
});

const address = () => ({ host: "127.0.0.1", port: knot.port });
const client = () => createDnsClient({ clock, servers: [address()] });
const rfc2136 = (key: TsigKeyConfig = knot.key, zone?: string) =>
  createRfc2136({ kind: "rfc2136", server: address(), zone, key }, clock);
const texts = async (name: string): Promise<string[]> =>
  (await client().query(name, TYPE.TXT, never)).records.map(textOf).sort();

async function failureOf(work: Promise<unknown>): Promise<EdgeError> {
  const thrown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(thrown).toBeInstanceOf(EdgeError);
  return thrown as EdgeError;
}

describe("dynamic update", () => {
  test("adds and removes one record of several, as often as it is asked to", async () => {
    const name = "_acme-challenge.update.example.test";
    const provider = rfc2136();
    for (const value of ["one", "two", "two"]) await provider.present(name, value, never);
    expect(await texts(name)).toEqual(["one", "two"]);
    await provider.remove(name, "one", never);
    await provider.remove(name, "one", never);
    expect(await texts(name)).toEqual(["two"]);
    await provider.remove(name, "two", never);
    expect(await texts(name)).toEqual([]);
  });

  test("is refused with the reason where the key is wrong", async () => {
    const name = "_acme-challenge.refused.example.test";
    const wrong = { ...knot.key, secret: Buffer.from("another secret").toString("base64") };
    expect((await failureOf(rfc2136(wrong).present(name, "x", never))).message).toMatch(/BADSIG/);
    const unsigned = createRfc2136(
      { kind: "rfc2136", server: address(), zone: undefined, key: undefined },
      clock,
    );
    const unknown = { ...knot.key, name: "nobody" };
    expect((await failureOf(rfc2136(unknown).present(name, "x", never))).message).toMatch(/BADKEY/);
    const late = { ...clock, wall: () => clock.wall() - 3_600_000 };
    const behind = createRfc2136(
      { kind: "rfc2136", server: address(), zone: undefined, key: knot.key },
      late,
    );
    expect((await failureOf(behind.present(name, "x", never))).message).toMatch(/BADTIME/);
    expect((await failureOf(unsigned.present(name, "x", never))).message).toMatch(/NOTAUTH|REFUSED/);
    expect(await texts(name)).toEqual([]);
  });

  test("says so where the server has no such zone", async () => {
    const failure = await failureOf(rfc2136().present("_acme-challenge.example.net", "x", never));
    expect(failure).toMatchObject({ code: "DNS_FAILED", retry: "any" });
    expect(failure.message).toMatch(/holds no zone for _acme-challenge\.example\.net/);
    const elsewhere = rfc2136(knot.key, "example.net");
    expect((await failureOf(elsewhere.present("a.example.net", "x", never))).message).toMatch(/example\.net/);
  });

  test("believes no consent that is not signed, or signed by another", async () => {
    const config = { kind: "rfc2136", server: address(), zone: "example.test", key: knot.key } as const;
    const forged = (change: (answer: Buffer) => void) =>
      createRfc2136(config, clock, async (options) => {
        const answer = Buffer.from(await ask(options));
        change(answer);
        return answer;
      });
    const name = "_acme-challenge.forged.example.test";
    // The id in the message is not what is signed; the flags are.
    const altered = forged((answer) => answer.writeUInt8((answer[3] ?? 0) ^ 0x20, 3));
    expect((await failureOf(altered.present(name, "x", never))).message).toMatch(/signed with another key/);
    const bare = forged((answer) => answer.writeUInt16BE(0, 10));
    expect((await failureOf(bare.present(name, "x", never))).message).toMatch(/not signed/);
  });
});

describe("a DNS exchange", () => {
  test("goes on by TCP where the answer was cut", async () => {
    const cutting = await startKnot({ zones: { "example.test": ["a 60 A 192.0.2.1"] }, tcpOnly: true });
    try {
      const servers = [{ host: "127.0.0.1", port: cutting.port }];
      const dns = createDnsClient({ clock, servers });
      for (let i = 0; i < 10; i++)
        expect(await dns.addresses("a.example.test", never)).toEqual(["192.0.2.1"]);
    } finally {
      await cutting.stop();
    }
  });

  test("with a server that says nothing ends in time, and at once when it is no longer wanted", async () => {
    const [port = 0] = await freePorts(1);
    const dns = createDnsClient({ clock, servers: [{ host: "127.0.0.1", port }], timeoutMs: 50 });
    expect(await failureOf(dns.query("a.example.test", TYPE.A, never))).toMatchObject({ code: "DNS_FAILED" });
    const slow = createDnsClient({ clock, servers: [{ host: "127.0.0.1", port }], timeoutMs: 60_000 });
    const stop = new AbortController();
    const work = slow.query("a.example.test", TYPE.A, stop.signal);
    stop.abort(new EdgeError("SHUTTING_DOWN", "over"));
    expect(await failureOf(work)).toMatchObject({ code: "SHUTTING_DOWN" });
  });

  test("asks the next server where one is away", async () => {
    const [port = 0] = await freePorts(1);
    const dns = createDnsClient({ clock, servers: [{ host: "127.0.0.1", port }, address()], timeoutMs: 50 });
    expect((await dns.query("long.example.test", TYPE.TXT, never)).records.map(textOf)).toEqual(["xy"]);
  });
});

describe("propagation", () => {
  test("is over when every name server of the zone has the value", async () => {
    const provider = rfc2136();
    const name = "_acme-challenge.late.example.test";
    const waiting = awaitRecord(name, "v", { dns: client(), clock, intervalMs: 20 }, never);
    await provider.present(name, "other", never);
    await provider.present(name, "v", never);
    await waiting;
  });

  test("that takes too long names the servers that lack the record", async () => {
    const work = awaitRecord(
      "_acme-challenge.never.example.test",
      "v",
      { dns: client(), clock, intervalMs: 20, timeoutMs: 100 },
      never,
    );
    const failure = await failureOf(work);
    expect(failure).toMatchObject({ code: "DNS_FAILED", retry: "any" });
    expect(failure.message).toMatch(/not yet at ns1\.example\.test after/);
  });
});

function issuerWith(provider: DnsProvider, lines: string[] = []) {
  const { directory, ca } = pebble;
  const log = createLog({ level: "debug", write: (line) => void lines.push(line) });
  return createAcmeIssuer({
    config: { directory, trustedCa: ca, email: "ops@example.com", agreeToTerms: true },
    storage: createMemoryStorage(),
    challenge: createHttpChallenge(),
    solvers: [dnsSolver({ provider, dns: client(), clock, log, timeoutMs: 5000, intervalMs: 50 })],
    clock,
    log,
  } as Parameters<typeof createAcmeIssuer>[0]);
}

describe("DNS-01", () => {
  test("obtains a wildcard's certificate, and leaves no record behind", async () => {
    const issued = await issuerWith(rfc2136()).issue("*.example.test", never);
    const leaf = new X509Certificate(splitChain(issued.chain)[0]!);
    expect(leaf.subjectAltName).toBe("DNS:*.example.test");
    expect(await texts("_acme-challenge.example.test")).toEqual([]);
  });

  test("follows an alias to the zone that may be changed", async () => {
    const names: string[] = [];
    const inner = rfc2136();
    const provider: DnsProvider = {
      ...inner,
      present: (name, ...rest) => {
        names.push(name);
        return inner.present(name, ...rest);
      },
    };
    await issuerWith(provider).issue("aliased.example.test", never);
    expect(names).toEqual(["aliased.acme.example.test"]);
  });

  test("a name and its wildcard at once do not disturb each other", async () => {
    const issuer = issuerWith(rfc2136());
    const issued = await Promise.all(
      ["both.example.test", "*.both.example.test"].map((host) => issuer.issue(host, never)),
    );
    expect(issued.map(({ chain }) => new X509Certificate(splitChain(chain)[0]!).subjectAltName)).toEqual([
      "DNS:both.example.test",
      "DNS:*.both.example.test",
    ]);
  });

  test("code of one's own is told the whole name; what it throws is spent on nothing", async () => {
    const inner = rfc2136();
    const calls: string[] = [];
    const hook = {
      async present(name: string, value: string) {
        calls.push(`+${name}`);
        await inner.present(name, value, never);
      },
      async remove(name: string, value: string) {
        calls.push(`-${name}`);
        await inner.remove(name, value, never);
      },
    };
    await issuerWith(dnsProvider({ kind: "hook", hook }, clock)).issue("hook.example.test", never);
    expect(calls).toEqual(["+_acme-challenge.hook.example.test", "-_acme-challenge.hook.example.test"]);
    const broken = {
      present: () => Promise.reject(new Error("the provider is down")),
      remove: () => Promise.reject(new Error("gone")),
    };
    const lines: string[] = [];
    const work = issuerWith(dnsProvider({ kind: "hook", hook: broken }, clock), lines).issue(
      "b.example.test",
      never,
    );
    expect(await failureOf(work)).toMatchObject({
      code: "DNS_FAILED",
      retry: "any",
      message: "acme.dns.present failed: the provider is down",
    });
    expect(lines.join("")).toContain("challenge.record_left");
  });
});

describe("Cloudflare", () => {
  interface Stored {
    id: string;
    name: string;
    content: string;
  }
  const TOKEN = "tok_Secret-123";
  const zone = "0123abcd";
  let records: Stored[] = [];
  let failing: { status: number; body: string } | undefined;
  const seen: string[] = [];
  let api: string;
  const file = join(mkdtempSync(join(tmpdir(), "skerry-token-")), "token");

  const answer = async (request: IncomingMessage): Promise<[number, object]> => {
    const fault = (status: number, code: number, message: string): [number, object] => [
      status,
      { success: false, errors: [{ code, message }], result: null },
    ];
    const good = (result: unknown): [number, object] => [200, { success: true, errors: [], result }];
    const url = new URL(request.url ?? "", "http://fake");
    seen.push(`${request.method} ${url.pathname}${url.search}`);
    if (request.headers.authorization !== `Bearer ${TOKEN}`) return fault(403, 9109, "Invalid access token");
    if (request.method === "GET" && url.pathname === "/v4/zones")
      return good(url.searchParams.get("name") === "example.test" ? [{ id: zone }] : []);
    const path = `/v4/zones/${zone}/dns_records`;
    if (request.method === "GET" && url.pathname === path) {
      const { name, content } = Object.fromEntries(url.searchParams);
      return good(records.filter((each) => each.name === name && each.content === content));
    }
    if (request.method === "POST" && url.pathname === path) {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      const { type, name, content } = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, string>;
      expect(type).toBe("TXT");
      if (records.some((each) => each.name === name && each.content === content))
        return fault(400, 81058, "An identical record already exists.");
      const record = { id: `id${records.length}`, name: name!, content: content! };
      records.push(record);
      return good(record);
    }
    if (request.method === "DELETE" && url.pathname.startsWith(`${path}/`)) {
      records = records.filter(({ id }) => !url.pathname.endsWith(`/${id}`));
      return good({ id: "" });
    }
    return fault(404, 7003, "Could not route");
  };
  const fake = createServer(async (request, response) => {
    const [status, body] = failing ? [failing.status, failing.body] : await answer(request);
    response.statusCode = status;
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  });

  beforeAll(async () => {
    writeFileSync(file, `${TOKEN}\n`);
    await new Promise<void>((resolve) => fake.listen(0, "127.0.0.1", resolve));
    api = `http://127.0.0.1:${(fake.address() as { port: number }).port}/v4`;
  });
  afterAll(() => fake.close());

  test("gets the record beside others, once, and loses just that one", async () => {
    const provider = createCloudflare({ kind: "cloudflare", token: { file }, api });
    const name = "_acme-challenge.a.b.example.test";
    for (const value of ["one", "two", "two"]) await provider.present(name, value, never);
    expect(records.map(({ content }) => content)).toEqual(['"one"', '"two"']);
    await provider.remove(name, "one", never);
    await provider.remove(name, "one", never);
    expect(records.map(({ content }) => content)).toEqual(['"two"']);
    // The zone is looked for once.
    expect(seen.filter((line) => line.includes("/v4/zones?name=example.test"))).toHaveLength(1);
  });

  test("says what it refuses, and never the token", async () => {
    const wrong = join(mkdtempSync(join(tmpdir(), "skerry-token-")), "token");
    writeFileSync(wrong, "tok_Wrong-456");
    const provider = createCloudflare({ kind: "cloudflare", token: { file: wrong }, api });
    const failure = await failureOf(provider.present("_acme-challenge.example.test", "x", never));
    expect(failure).toMatchObject({ code: "DNS_FAILED", retry: "any" });
    expect(failure.message).toMatch(/403 Invalid access token \(9109\): the token must be valid/);
    expect(JSON.stringify(failure, Object.getOwnPropertyNames(failure))).not.toContain("Wrong-456");
  });

  test("that is broken, has no such zone, or whose token is missing is told apart", async () => {
    const provider = createCloudflare({ kind: "cloudflare", token: { file }, api });
    const name = "_acme-challenge.example.org";
    expect((await failureOf(provider.present(name, "x", never))).message).toMatch(/has no zone for/);
    failing = { status: 502, body: "<html>bad gateway</html>" };
    expect((await failureOf(provider.present(name, "x", never))).message).toBe("Cloudflare answers 502");
    failing = undefined;
    const missing = createCloudflare({ kind: "cloudflare", token: { env: "SKERRY_NO_SUCH" }, api });
    expect((await failureOf(missing.present(name, "x", never))).message).toMatch(/SKERRY_NO_SUCH is not set/);
    const away = createCloudflare({ kind: "cloudflare", token: { file }, api: "http://127.0.0.1:1/v4" });
    expect((await failureOf(away.present(name, "x", never))).message).toMatch(/cannot be reached/);
  });
});
