/** TLS as visitors and attackers meet it: names, versions, sessions, client certificates, Strict-Transport-Security. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import tls from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connect2, visit, visit2 } from "../runtime/client.ts";
import { type OwnCertificate, ownCertificate } from "../runtime/own-certificate.ts";
import { type ClientCa, type ClientPair, clientCa } from "../support/client-certificates.ts";
import { configFile, type EdgeProcess, startEdge } from "../support/edge.ts";
import { clientHello, firstAnswer, inRecords } from "../support/raw-hello.ts";

const OPEN = "open.example.test";
const STAFF = "staff.example.test";
const MAYBE = "maybe.example.test";
const IDN = "bücher.example.test";
const IDN_ASCII = "xn--bcher-kva.example.test";

let own: OwnCertificate;
let ca: ClientCa;
let caPath: string;
let alice: ClientPair;
let stranger: ClientPair;
let expired: ClientPair;
let server: ClientPair;

beforeAll(async () => {
  own = await ownCertificate([OPEN, STAFF, MAYBE, IDN_ASCII]);
  ca = await clientCa();
  caPath = join(mkdtempSync(join(tmpdir(), "skerry-mtls-")), "staff.pem");
  writeFileSync(caPath, ca.rootPem);
  alice = await ca.issue("CN=alice, O=Example");
  expired = await ca.issue("CN=bob", { expired: true });
  server = await ca.issue("CN=carol", { usage: "server" });
  // The same name, but not the same key: only the signature tells.
  stranger = await (await clientCa()).issue("CN=alice, O=Example");
});

function configOf({ profile = "intermediate", storage = "file:./certs" } = {}): string {
  const settings = `tls: ${JSON.stringify(own.tls)}`;
  return `import { defineEdge } from "skerry";
import { Hono } from "hono";
const who = () => new Hono().all("*", (c) => c.text(c.var.edge.clientCertificate?.subject ?? "nobody"));
export default defineEdge({
  listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
  storage: ${JSON.stringify(storage)},
  tls: { profile: "${profile}" },
  hosts: {
    "${OPEN}": { app: who(), ${settings}, hsts: { includeSubDomains: true } },
    "${IDN}": { app: who(), ${settings} },
    "${STAFF}": { app: who(), ${settings}, clientAuth: { ca: ${JSON.stringify(caPath)} } },
    "${MAYBE}": { app: who(), ${settings}, clientAuth: { ca: ${JSON.stringify(caPath)}, required: false } },
  },
});
`;
}

interface Asked {
  readonly status: number;
  readonly body: string;
  readonly reused: boolean;
  readonly session: Buffer | undefined;
}

/** One HTTP/1.1 request by a connection whose server name and Host may differ. */
function ask(
  port: number,
  {
    serverName,
    host,
    pair,
    ...more
  }: { serverName?: string; host: string; pair?: ClientPair } & tls.ConnectionOptions,
): Promise<Asked> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({
      host: "127.0.0.1",
      port,
      ca: own.root,
      ALPNProtocols: ["http/1.1"],
      ...(serverName === undefined
        ? { checkServerIdentity: () => undefined, rejectUnauthorized: false }
        : { servername: serverName }),
      ...pair,
      ...more,
    });
    const bound = setTimeout(() => socket.destroy(new Error("no answer in time")), 10_000);
    let session: Buffer | undefined;
    let text = "";
    let reused = false;
    socket.on("session", (fresh) => {
      session = fresh;
    });
    socket.on("secureConnect", () => {
      reused = socket.isSessionReused();
      socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
    });
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.on("error", (error) => {
      clearTimeout(bound);
      reject(error);
    });
    socket.on("close", () => {
      clearTimeout(bound);
      const [head = "", body = ""] = text.split("\r\n\r\n");
      resolve({ status: Number(head.split(" ")[1] ?? 0), body, reused, session });
    });
  });
}

describe.each(["node", "bun", "deno"] as const)("on %s", (runtime) => {
  let edge: EdgeProcess;
  let port: number;

  beforeAll(async () => {
    edge = await startEdge(runtime, configFile(configOf(), "skerry.config.ts"));
    port = edge.https.port;
  });
  afterAll(() => edge?.stop());

  test("an app with a certificate of its own is served, with Strict-Transport-Security where it is asked for", async () => {
    const open = await visit({ port, host: OPEN, ca: own.root });
    expect(open).toMatchObject({ status: 200, body: "nobody" });
    expect(open.headers["strict-transport-security"]).toBe("max-age=63072000; includeSubDomains");
    expect((await visit({ port, host: IDN_ASCII, ca: own.root })).headers).not.toHaveProperty(
      "strict-transport-security",
    );
  });

  test("names in capitals or with a trailing dot are the same name, in the hello and in Host", async () => {
    for (const name of [OPEN.toUpperCase(), `${OPEN}.`, IDN_ASCII.toUpperCase()])
      expect(await firstAnswer(port, inRecords(clientHello(Buffer.from(name)))), name).toBe("hello");
    expect(await ask(port, { serverName: OPEN, host: `${OPEN.toUpperCase()}.` })).toMatchObject({
      status: 200,
    });
    expect(await ask(port, { serverName: IDN_ASCII, host: IDN_ASCII })).toMatchObject({ status: 200 });
  });

  test("a hello without name meets the placeholder, and 421 unless its Host is served", async () => {
    expect(await firstAnswer(port, inRecords(clientHello(undefined)))).toBe("placeholder");
    expect(await ask(port, { host: OPEN })).toMatchObject({ status: 200 });
    expect(await ask(port, { host: "other.example.test" })).toMatchObject({ status: 421 });
  });

  test("a name that is not served is refused with the alert unrecognized_name", async () => {
    for (const name of ["other.example.test", `www.${OPEN}`, `${OPEN}..`, "a"]) {
      const bytes = inRecords(clientHello(Buffer.from(name)));
      expect(await firstAnswer(port, bytes), name).toBe("alert 112");
      expect(await firstAnswer(port, bytes, 1), `${name}, byte by byte`).toBe("alert 112");
    }
    await expect(ask(port, { serverName: "other.example.test", host: OPEN })).rejects.toThrow(
      /unrecognized|alert number 112/i,
    );
  });

  test("all other names are refused in the handshake", async () => {
    const names: [string, Buffer][] = [
      ["an unknown name", Buffer.from("other.example.test")],
      ["a subdomain", Buffer.from(`www.${OPEN}`)],
      ["a name in brackets", Buffer.from("[::1]")],
      ["an IDN as UTF-8", Buffer.from(IDN)],
      ["a NUL in the name", Buffer.from(`${OPEN}\0.example.test`)],
      ["two trailing dots", Buffer.from(`${OPEN}..`)],
      ["a leading dot", Buffer.from(`.${OPEN}`)],
      ["a label of 64", Buffer.from(`${"a".repeat(64)}.example.test`)],
      ["255 bytes", Buffer.from(`${"a.".repeat(127)}a`)],
      ["256 bytes", Buffer.from(`${"a.".repeat(128)}`)],
      ["16,000 bytes", Buffer.alloc(16_000, "a")],
      ["60,000 bytes", Buffer.alloc(60_000, "a")],
      ["a space", Buffer.from(`${OPEN} `)],
      ["bytes above 127", Buffer.from([0xff, 0xfe, 0x2e, 0x61])],
    ];
    for (const [what, name] of names) {
      const bytes = inRecords(clientHello(name));
      const answer = await firstAnswer(port, bytes, bytes.length, 15_000);
      expect(answer, what).toMatch(/^(alert \d+|closed)$/);
    }
    const metrics = await (await fetch(`http://127.0.0.1:${edge.admin.port}/metrics`)).text();
    expect(metrics).toMatch(/^skerry_tls_handshake_errors_total\{reason="UNKNOWN_NAME"\} \d+$/m);
    // An address is no name (RFC 6066 §3), and clients that send it are served as those that send none.
    for (const name of ["127.0.0.1", "::1"])
      expect(await firstAnswer(port, inRecords(clientHello(Buffer.from(name)))), name).toBe("placeholder");
    // An empty name is none at rustls and an error at others.
    expect(await firstAnswer(port, inRecords(clientHello(Buffer.from(""))))).toMatch(
      /^(alert \d+|closed|placeholder)$/,
    );
    expect(await visit({ port, host: OPEN, ca: own.root })).toMatchObject({ status: 200 });
  });

  test("a hello may come byte by byte or in many records; one that never ends is let go", async () => {
    const hello = clientHello(Buffer.from(OPEN));
    expect(await firstAnswer(port, inRecords(hello), 1)).toBe("hello");
    expect(await firstAnswer(port, inRecords(hello, 64))).toBe("hello");
    const endless = Buffer.concat([Buffer.from([22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff]), Buffer.alloc(40_000)]);
    expect(await firstAnswer(port, endless, 4096, 15_000)).toMatch(/^(alert \d+|closed)$/);
    expect(await firstAnswer(port, Buffer.from("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))).toMatch(
      /^(alert \d+|closed)$/,
    );
  });

  test("TLS 1.2 and 1.3 are spoken, 1.1 is not, and a foreign ALPN is refused", async () => {
    const at = (version: tls.SecureVersion): Promise<Asked> =>
      ask(port, {
        serverName: OPEN,
        host: OPEN,
        minVersion: version,
        maxVersion: version,
        ...(version === "TLSv1.1" && { ciphers: "DEFAULT@SECLEVEL=0" }),
      });
    expect(await at("TLSv1.2")).toMatchObject({ status: 200 });
    expect(await at("TLSv1.3")).toMatchObject({ status: 200 });
    await expect(at("TLSv1.1")).rejects.toThrow();
    await expect(ask(port, { serverName: OPEN, host: OPEN, ALPNProtocols: ["spdy/3"] })).rejects.toThrow();
    expect(await ask(port, { serverName: OPEN, host: OPEN, ALPNProtocols: [] })).toMatchObject({
      status: 200,
    });
  });

  test.each(["TLSv1.2", "TLSv1.3"] as const)("a %s session is resumed", async (version) => {
    const to = { serverName: OPEN, host: OPEN, minVersion: version, maxVersion: version };
    const first = await ask(port, to);
    expect(first.reused).toBe(false);
    expect(await ask(port, { ...to, session: first.session! })).toMatchObject({ status: 200, reused: true });
  });

  describe("a host that asks for client certificates", () => {
    test("tells the app who the client is", async () => {
      expect(await ask(port, { serverName: STAFF, host: STAFF, pair: alice })).toMatchObject({
        status: 200,
        body: "O=Example, CN=alice".split(", ").reverse().join(", "),
      });
      expect(
        await ask(port, {
          serverName: STAFF.toUpperCase(),
          host: STAFF,
          pair: alice,
          checkServerIdentity: () => undefined,
        }),
      ).toMatchObject({ status: 200 });
    });

    test("refuses clients without one, of another authority, of another use, or out of date", async () => {
      expect(await ask(port, { serverName: STAFF, host: STAFF })).toMatchObject({ status: 403 });
      for (const pair of [stranger, server, expired])
        expect(await ask(port, { serverName: STAFF, host: STAFF, pair })).toMatchObject({ status: 403 });
    });

    test("may do without one, but not with a bad one", async () => {
      expect(await ask(port, { serverName: MAYBE, host: MAYBE })).toMatchObject({
        status: 200,
        body: "nobody",
      });
      expect(await ask(port, { serverName: MAYBE, host: MAYBE, pair: alice })).toMatchObject({ status: 200 });
      expect(await ask(port, { serverName: MAYBE, host: MAYBE, pair: stranger })).toMatchObject({
        status: 403,
      });
    });

    test("is not reached by a connection that was made for another host, nor is another by its own", async () => {
      expect(await ask(port, { serverName: OPEN, host: STAFF, pair: alice })).toMatchObject({ status: 421 });
      expect(await ask(port, { host: STAFF, pair: alice })).toMatchObject({ status: 421 });
      expect(await ask(port, { serverName: STAFF, host: OPEN, pair: alice })).toMatchObject({ status: 421 });
      expect(await ask(port, { serverName: MAYBE, host: STAFF, pair: alice })).toMatchObject({ status: 421 });
      const session = await connect2({ port, host: OPEN, ca: own.root });
      expect(await visit2(session, { port, host: STAFF })).toMatchObject({ status: 421 });
      session.destroy();
    });

    test.each(["TLSv1.2", "TLSv1.3"] as const)(
      "keeps its judgement in a resumed %s session",
      async (version) => {
        const to = { serverName: STAFF, host: STAFF, minVersion: version, maxVersion: version };
        const good = await ask(port, { ...to, pair: alice });
        expect(await ask(port, { ...to, pair: alice, session: good.session! })).toMatchObject({
          status: 200,
          body: good.body,
        });
        for (const pair of [stranger, undefined]) {
          const bad = await ask(port, { ...to, ...(pair && { pair }) });
          expect(bad.status).toBe(403);
          const again = await ask(port, {
            ...to,
            ...(pair && { pair }),
            ...(bad.session && { session: bad.session }),
          });
          expect(again.status).toBe(403);
        }
      },
    );

    test.each(["TLSv1.2", "TLSv1.3"] as const)("takes no %s session of another host", async (version) => {
      const to = { minVersion: version, maxVersion: version };
      const other = await ask(port, { ...to, serverName: OPEN, host: OPEN });
      const stolen = await ask(port, { ...to, serverName: STAFF, host: STAFF, session: other.session! });
      expect(stolen.status).toBe(403);
      const maybe = await ask(port, { ...to, serverName: MAYBE, host: MAYBE, pair: alice });
      const crossed = await ask(port, { ...to, serverName: STAFF, host: STAFF, session: maybe.session! });
      expect(crossed.status).toBe(403);
    });
  });

  test("the modern profile speaks TLS 1.3 alone", async () => {
    const modern = await startEdge(runtime, configFile(configOf({ profile: "modern" }), "skerry.config.ts"));
    const to = { serverName: OPEN, host: OPEN };
    expect(await ask(modern.https.port, to)).toMatchObject({ status: 200 });
    await expect(ask(modern.https.port, { ...to, maxVersion: "TLSv1.2" })).rejects.toThrow();
    expect(await ask(modern.https.port, { serverName: STAFF, host: STAFF, pair: alice })).toMatchObject({
      status: 200,
    });
    await expect(
      ask(modern.https.port, { serverName: STAFF, host: STAFF, pair: alice, maxVersion: "TLSv1.2" }),
    ).rejects.toThrow();
    await modern.stop();
  });
});
