/** What an order asks for, and of whom: binding, profile, key, chain, and several CAs. */
import { createPublicKey, X509Certificate } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { KeyType } from "../../src/config/config.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { splitChain } from "../../src/tls/certificate.ts";
import { issuerName } from "../../src/tls/issuer.ts";
import { type FrontRule, problem } from "../support/acme-front.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { servedOver } from "./handshake.ts";
import { type Lab, startLab, until } from "./lab.ts";

const HMAC = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
const HOST = "a.example.test";
let lab: Lab;
/** The second CA: knows its customers only. */
let second: Pebble;
const other = () => ({ directory: second.directory, trustedCa: second.ca });

beforeAll(async () => {
  lab = await startLab({
    blocked: ["blocked.example"],
    env: { PEBBLE_ALTERNATE_ROOTS: "2", PEBBLE_CHAIN_LENGTH: "2" },
  });
  second = await startPebble({ httpPort: lab.challengePort, eab: { "kid-1": HMAC } });
});
afterEach(() => lab.reset());
afterAll(async () => {
  await second?.close();
  await lab?.close();
});

const URN = "urn:ietf:params:acme:error:";

/** What a CA says of an authorization that it could not validate. */
function refusedFor(type: string, detail: string, subproblems?: readonly object[]): FrontRule {
  return async (_request, forward) => {
    const reply = await forward();
    const authorization = JSON.parse(reply.body) as { status: string; challenges: object[] };
    if (authorization.status !== "valid") return reply;
    const error = { type: URN + type, detail, status: 403, subproblems };
    const challenges = authorization.challenges.map((each) => ({ ...each, status: "invalid", error }));
    return { ...reply, body: JSON.stringify({ ...authorization, status: "invalid", challenges }) };
  };
}

describe("an order", () => {
  test.each<[KeyType, string]>([
    ["p256", "prime256v1"],
    ["p384", "secp384r1"],
    ["rsa2048", "2048"],
  ])("has a key of type %s where the host asks for it", async (keyType, wanted) => {
    const { manager, event, resolver } = lab.edge({ hosts: [{ name: HOST, tls: undefined, keyType }] });
    await manager.start();
    await event("certificate.obtained");
    const key = createPublicKey(
      (await servedOver(resolver, HOST))!.publicKey.export({ type: "spki", format: "pem" }),
    );
    const details = key.asymmetricKeyDetails;
    expect(String(details?.namedCurve ?? details?.modulusLength)).toBe(wanted);
  });

  test("names the profile of the CA, or that of the host", async () => {
    lab.front.profiles = { tlsserver: "45 days", shortlived: "160 hours" };
    const hosts = [HOST, { name: "b.example.test", tls: undefined, profile: "shortlived" }];
    const { manager, event, status } = lab.edge({ hosts, acme: [{ profile: "tlsserver" }] });
    await manager.start();
    await event("certificate.obtained", 1);
    expect(lab.front.orders(HOST)[0]?.payload.profile).toBe("tlsserver");
    expect(lab.front.orders("b.example.test")[0]?.payload.profile).toBe("shortlived");
    expect(status("b.example.test").profile).toBe("shortlived");
  });

  test("is not sent for a profile that the CA does not offer, and says which there are", async () => {
    lab.front.profiles = { classic: "90 days" };
    const { manager, event } = lab.edge({ hosts: [HOST], acme: [{ profile: "shortlived" }] });
    await manager.start();
    const failed = await event("certificate.failed");
    expect(failed).toMatchObject({ reason: "CONFIG_INVALID" });
    expect(failed.message).toContain('no profile "shortlived", but classic');
    expect(lab.front.orders()).toEqual([]);
  });

  test("is looked at when the CA says, not before, once it is finalized", async () => {
    lab.front.on("finalize", async (_request, forward) => {
      const reply = await forward();
      return { ...reply, headers: { ...reply.headers, "retry-after": "1" } };
    });
    const { manager, event } = lab.edge({ hosts: [HOST] });
    await manager.start();
    await event("certificate.obtained");
    const { requests } = lab.front;
    const finalized = requests.findIndex(({ step }) => step === "finalize");
    const next = requests.slice(finalized + 1).find(({ step }) => step === "order");
    expect(next!.at - requests[finalized]!.at).toBeGreaterThanOrEqual(990);
  });

  test("takes the chain that holds the preferred issuer", async () => {
    const storage = createMemoryStorage();
    let run = 0;
    const issuerOf = async (preferredChain?: string): Promise<string> => {
      const host = `h${run++}.example.test`;
      const { manager, event, resolver } = lab.edge({ hosts: [host], acme: [{ preferredChain }], storage });
      await manager.start();
      await event("certificate.obtained");
      const last = splitChain(resolver.bundle(host)!.chain).at(-1)!;
      return /CN=(.+)/.exec(new X509Certificate(last).issuer)![1]!;
    };
    const usual = await issuerOf();
    const found = new Set<string>();
    lab.front.on("certificate", async (_request, forward) => {
      const reply = await forward();
      for (const pem of splitChain(reply.body))
        found.add(/CN=(.+)/.exec(new X509Certificate(pem).issuer)![1]!);
      return reply;
    });
    // The alternates are fetched only where one is preferred.
    await issuerOf("a name that is nobody's");
    const another = [...found].find((name) => /Root/.test(name) && name !== usual);
    expect(another).toBeDefined();
    expect(await issuerOf(another)).toBe(another);
  });
});

describe("an account bound to a customer", () => {
  test("is made with the binding, and refused without it", async () => {
    const bound = lab.edge({ hosts: [HOST], acme: [{ ...other(), eab: { kid: "kid-1", hmacKey: HMAC } }] });
    await bound.manager.start();
    await bound.event("certificate.obtained");
    const unbound = lab.edge({ hosts: [HOST], acme: [other()] });
    await unbound.manager.start();
    const failed = await unbound.event("certificate.failed");
    expect(failed).toMatchObject({ reason: "externalAccountRequired" });
    expect(JSON.stringify([...bound.events, ...unbound.events])).not.toContain(HMAC);
  });
});

describe("with a second CA", () => {
  const both = () => [{}, { ...other(), eab: { kid: "kid-1", hmacKey: HMAC } }];

  test("the first is asked first, and both accounts are known", async () => {
    const { manager, event, storage, status } = lab.edge({ hosts: [HOST], acme: both() });
    await manager.start();
    await event("certificate.obtained");
    expect(status().issuer).toContain(new URL(lab.front.directory).port);
    expect((await storage.list("accounts/")).length).toBe(2);
    expect(await storage.list("challenges/")).toEqual([]);
  });

  test.each<[string, Parameters<Lab["front"]["on"]>]>([
    ["is away", ["directory", () => "cut"]],
    ["is broken", ["newOrder", () => problem(500, "serverInternal", "out of order")]],
    [
      "refuses for a limit",
      ["newOrder", () => problem(429, "rateLimited", "too many new orders (300) from this account", "3600")],
    ],
    ["refuses the name", ["newOrder", () => problem(400, "rejectedIdentifier", "not this one")]],
    [
      "is not allowed by CAA",
      ["authorization", refusedFor("caa", "CAA record for a.example.test prevents issuance")],
    ],
    [
      "is not allowed by CAA, as one part of what is wrong",
      ["authorization", refusedFor("compound", "errors", [{ type: `${URN}caa`, detail: "forbidden" }])],
    ],
    [
      "is not allowed by CAA when it comes to issue",
      ["finalize", () => problem(403, "caa", "rechecking CAA")],
    ],
    ["loses its mind at the end", ["finalize", () => problem(403, "badCSR", "no")]],
  ])("the second issues where the first %s, and its challenges are answered by any edge", async (_, rule) => {
    lab.front.on(...rule);
    const { manager, event, status } = lab.edge({ hosts: [HOST], acme: both() });
    // Knows both accounts, but not which one a token is for.
    const peer = lab.edge({ hosts: [], acme: both() });
    await peer.manager.start();
    await manager.start();
    await event("certificate.obtained");
    expect(status().issuer).toContain(new URL(second.directory).port);
    expect(status()).toMatchObject({ state: "valid", failure: undefined });
  });

  test("an account that cannot be made is said once, and each host says its failure once", async () => {
    lab.front.on("directory", () => "cut");
    await second.stop();
    const hosts = ["a", "b", "c"].map((name) => `${name}.example.test`);
    const { manager, event, events } = lab.edge({ hosts, acme: both() });
    await manager.start();
    await event("certificate.failed", hosts.length - 1);
    await second.start();
    const said = (name: string) => events.filter((each) => each.event === name);
    expect(
      said("certificate.prepare_failed")
        .map(({ issuer }) => issuer)
        .sort(),
    ).toEqual([lab.front.directory, second.directory].map(issuerName).sort());
    expect(
      said("certificate.failed")
        .map(({ host }) => host)
        .sort(),
    ).toEqual(hosts);
  });

  test("a failed validation is not tried there", async () => {
    lab.deaf.add(HOST);
    const before = second.issued();
    const { manager, event, events } = lab.edge({ hosts: [HOST], acme: both() });
    await manager.start();
    expect(await event("certificate.failed")).toMatchObject({ reason: "unauthorized", failures: 1 });
    expect(second.issued()).toBe(before);
    expect(events.some((each) => each.event === "certificate.fallback")).toBe(false);
  });

  test("a certificate from the second stays until it is due, and then the first is asked again", async () => {
    lab.front.on("newOrder", () => problem(500, "serverInternal", "out of order"));
    const { manager, event, status, clock } = lab.edge({ hosts: [HOST], acme: both() });
    await manager.start();
    await event("certificate.obtained");
    expect(status().nextAttemptAt! - clock.wall()).toBeGreaterThan(50 * 86_400_000);
    lab.front.on("newOrder", undefined);
    clock.jump(64.9 * 86_400_000);
    await event("certificate.renewed");
    await until(() => status().issuer?.includes(new URL(lab.front.directory).port) === true);
  });
});
