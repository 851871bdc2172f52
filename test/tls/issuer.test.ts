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
import { freePorts, type Pebble, startPebble } from "../support/pebble.ts";

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
});
