import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { AcmeConfig } from "../../src/config/config.ts";
import { EdgeError } from "../../src/errors.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { splitChain } from "../../src/tls/certificate.ts";
import { createHttpChallenge, type HttpChallenge } from "../../src/tls/challenge.ts";
import { createAcmeIssuer, type Issuer } from "../../src/tls/issuer.ts";
import { createLocalCa } from "../../src/tls/local-ca.ts";
import { problemOf } from "../../src/tls/problem.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePorts } from "../support/ports.ts";

let pebble: Pebble;
let server: Server;
let challenge: HttpChallenge;
const hits: string[] = [];

beforeAll(async () => {
  challenge = createHttpChallenge();
  server = createServer((request, response) => {
    hits.push(request.headers.host ?? "");
    const answer = challenge.answer(request.url ?? "");
    response.statusCode = answer === undefined ? 404 : 200;
    response.end(answer);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  pebble = await startPebble({
    httpPort: port,
    blocked: ["blocked.example"],
    env: { PEBBLE_WFE_NONCEREJECT: "50" },
  });
});

afterAll(async () => {
  await pebble?.close();
  server?.close();
});

function configOf(facts: Partial<AcmeConfig> = {}): AcmeConfig {
  const { directory, ca } = pebble;
  return { directory, trustedCa: ca, email: "ops@example.com", agreeToTerms: true, ...facts };
}

function issuerFor(facts: Partial<AcmeConfig> = {}, storage: Storage = createMemoryStorage()): Issuer {
  return createAcmeIssuer({ config: configOf(facts), storage, challenge, clock: systemClock });
}

async function failureOf(work: Promise<unknown>): Promise<EdgeError> {
  const thrown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(thrown).toBeInstanceOf(EdgeError);
  return thrown as EdgeError;
}

const never = new AbortController().signal;

describe("the ACME issuer, at a CA that refuses half of all nonces", () => {
  test("obtains a certificate that chains to the CA's root and fits its key", async () => {
    const issued = await issuerFor().issue("a.example.test", never);
    const [leaf, intermediate] = splitChain(issued.chain).map((pem) => new X509Certificate(pem));
    const root = new X509Certificate(await pebble.root());
    expect(leaf?.subjectAltName).toBe("DNS:a.example.test");
    expect(leaf?.verify(intermediate!.publicKey)).toBe(true);
    expect(intermediate?.verify(root.publicKey)).toBe(true);
    expect(issued.ariId).toMatch(/^[\w-]+\.[\w-]+$/);
    expect(hits.some((host) => host.startsWith("a.example.test"))).toBe(true);
  });

  test("every order has a new key, and all of them one account", async () => {
    const storage = createMemoryStorage();
    const issuer = issuerFor({}, storage);
    const issued = await Promise.all(
      ["a", "b", "c"].map((name) => issuer.issue(`${name}.example.test`, never)),
    );
    expect(new Set(issued.map(({ key }) => key)).size).toBe(3);
    expect(await storage.list("accounts/")).toEqual([
      expect.stringMatching(/^accounts\/127\.0\.0\.1-\d+-dir\/account$/),
    ]);
    const saved = await storage.load((await storage.list("accounts/"))[0]!);
    expect(JSON.parse(new TextDecoder().decode(saved))).toMatchObject({
      version: 1,
      key: expect.stringContaining("BEGIN PRIVATE KEY"),
      url: expect.stringContaining("/my-account/"),
    });
  });

  test("preparing makes the account and the thumbprint known, once for many who ask", async () => {
    const storage = createMemoryStorage();
    const thumbprints: string[] = [];
    const watched = {
      ...createHttpChallenge(),
      setThumbprint: (value: string) => void thumbprints.push(value),
    };
    const make = () =>
      createAcmeIssuer({ config: configOf(), storage, challenge: watched, clock: systemClock });
    await Promise.all(Array.from({ length: 5 }, () => make().prepare?.(never)));
    expect(new Set(thumbprints).size).toBe(1);
    expect(thumbprints[0]).toMatch(/^[\w-]{43}$/);
  });

  test("a name that the CA refuses is a typed problem", async () => {
    const failure = await failureOf(issuerFor().issue("blocked.example", never));
    expect(failure).toMatchObject({ code: "ACME_PROBLEM", source: "ca", retry: "never" });
    expect(problemOf(failure)).toMatchObject({ type: "rejectedIdentifier", status: 400 });
    expect(failure.message).toContain("blocked.example");
  });

  test("a challenge that fails says what the CA saw", async () => {
    const storage = createMemoryStorage();
    const deaf = createHttpChallenge();
    challenge.setThumbprint("wrong");
    const issuer = createAcmeIssuer({ config: configOf(), storage, challenge: deaf, clock: systemClock });
    const failure = await failureOf(issuer.issue("a.example.test", never));
    expect(failure).toMatchObject({ code: "ACME_CHALLENGE_FAILED", retry: "never" });
    expect(problemOf(failure)?.detail).toContain("wrong");
  });

  test("stops as soon as it is told", async () => {
    const stop = new AbortController();
    const issuing = issuerFor().issue("a.example.test", stop.signal);
    stop.abort(new EdgeError("SHUTTING_DOWN", "enough"));
    expect((await failureOf(issuing)).code).toBe("SHUTTING_DOWN");
  });

  test("two issuers with CAs of their own do not disturb each other", async () => {
    const { rootPem } = await createLocalCa(systemClock);
    const storage = createMemoryStorage();
    const [good, bad] = await Promise.allSettled([
      issuerFor({}, storage).issue("a.example.test", never),
      issuerFor({ trustedCa: rootPem }, storage).issue("a.example.test", never),
    ]);
    expect(good.status).toBe("fulfilled");
    expect(bad.status === "rejected" && bad.reason).toMatchObject({ code: "ACME_UNREACHABLE", retry: "any" });
  });

  test("an account that the CA has lost is registered again with the same key", async () => {
    const storage = createMemoryStorage();
    const issuer = issuerFor({}, storage);
    await issuer.issue("a.example.test", never);
    const [key] = await storage.list("accounts/");
    const read = async (): Promise<{ key: string; url: string }> =>
      JSON.parse(new TextDecoder().decode(await storage.load(key!)));
    const before = await read();
    await pebble.stop();
    await pebble.start();
    await issuer.issue("a.example.test", never);
    const after = await read();
    expect(after.key).toBe(before.key);
    expect(after.url).not.toBe(before.url);
  });
});

describe("the ACME issuer", () => {
  test("asks for agreement to the CA's terms", () => {
    expect(() => issuerFor({ agreeToTerms: false })).toThrow(
      expect.objectContaining({ code: "CONFIG_INVALID" }),
    );
  });

  test("says that nobody listens at the directory, and that trying again is harmless", async () => {
    const [port] = await freePorts(1);
    const failure = await failureOf(
      issuerFor({ directory: `https://127.0.0.1:${port}/dir` }).issue("a", never),
    );
    expect(failure).toMatchObject({ code: "ACME_UNREACHABLE", source: "ca", retry: "any" });
  });

  test("gives up on a CA that accepts and never answers", async () => {
    const silent = await listen(createServer(() => {}));
    const { directory } = silent;
    const issuer = createAcmeIssuer({
      config: configOf({ directory }),
      storage: createMemoryStorage(),
      challenge,
      clock: systemClock,
      requestTimeoutMs: 100,
    });
    expect(await failureOf(issuer.issue("a.example.test", never))).toMatchObject({
      code: "ACME_TIMEOUT",
      retry: "any",
    });
    silent.close();
  });

  test("obeys no Retry-After in the call, but hands it on", async () => {
    const busy = await listen(
      createServer((_, response) => {
        response.writeHead(429, { "retry-after": "3600", "content-type": "application/problem+json" });
        response.end('{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too\\nmany"}');
      }),
    );
    const { directory } = busy;
    const failure = await failureOf(issuerFor({ directory }).issue("a.example.test", never));
    expect(failure).toMatchObject({ code: "ACME_PROBLEM", retry: "never" });
    expect(problemOf(failure)).toMatchObject({
      type: "rateLimited",
      status: 429,
      detail: "too many",
      retryAfterMs: 3_600_000,
    });
    busy.close();
  });

  test.each([
    ["a page of HTML", 200, "<html>"],
    ["a JSON list", 200, "[]"],
    ["an empty object", 200, "{}"],
    ["nothing", 204, ""],
    ["half of a JSON object", 200, '{"newNonce":'],
  ])("survives a directory that is %s", async (_, status, body) => {
    const odd = await listen(createServer((_request, response) => void response.writeHead(status).end(body)));
    const { directory } = odd;
    expect((await failureOf(issuerFor({ directory }).issue("a.example.test", never))).source).toBe("ca");
    odd.close();
  });

  test("survives an answer that never ends, within a bound of memory", async () => {
    const endless = await listen(
      createServer((_, response) => {
        const more = (): void => {
          while (!response.destroyed && response.write("x".repeat(65_536)));
        };
        response.on("drain", more);
        more();
      }),
    );
    const { directory } = endless;
    const failure = await failureOf(issuerFor({ directory }).issue("a.example.test", never));
    expect(failure).toMatchObject({
      code: "ACME_UNREACHABLE",
      message: expect.stringContaining("too large"),
    });
    endless.close();
  });
});

async function listen(odd: Server): Promise<{ directory: string; close(): void }> {
  odd.listen(0, "127.0.0.1");
  await once(odd, "listening");
  const { port } = odd.address() as { port: number };
  return {
    directory: `http://127.0.0.1:${port}/dir`,
    close: () => {
      odd.closeAllConnections();
      odd.close();
    },
  };
}
