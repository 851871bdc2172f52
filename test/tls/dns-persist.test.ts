/** dns-persist-01 at Pebble behind a front that offers it: Pebble 2.4 itself does not know it. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { EdgeError } from "../../src/errors.ts";
import { createLog, silentLog } from "../../src/log.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { createHttpChallenge } from "../../src/tls/challenge.ts";
import { createDnsClient } from "../../src/tls/dns-client.ts";
import { persistSolver } from "../../src/tls/dns-persist.ts";
import { createAcmeIssuer } from "../../src/tls/issuer.ts";
import { createRfc2136 } from "../../src/tls/rfc2136.ts";
import type { ChallengeAnswer } from "../../src/tls/validate.ts";
import { type AcmeFront, startAcmeFront } from "../support/acme-front.ts";
import { type Knot, startKnot } from "../support/knot.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePorts } from "../support/ports.ts";

const clock = systemClock;
const never = new AbortController().signal;
const ACCOUNT = "https://ca.test/acct/1";
let knot: Knot;
let pebble: Pebble;
let front: AcmeFront;

beforeAll(async () => {
  knot = await startKnot({ zones: { test: [], "example.test": [] } });
  // Its own challenges stand in for the one that it lacks, and it believes them.
  pebble = await startPebble({
    httpPort: (await freePorts(1))[0]!,
    env: { PEBBLE_VA_ALWAYS_VALID: "1" },
    dnsServer: knot.address,
  });
  front = await startAcmeFront(pebble);
  front.on("authorization", async (_request, forward) => {
    const reply = await forward();
    const authorization = JSON.parse(reply.body) as { challenges: { type: string }[] };
    for (const challenge of authorization.challenges) {
      if (challenge.type !== "dns-01") continue;
      Object.assign(challenge, { type: "dns-persist-01", "issuer-domain-names": ["CA.test", "other.test"] });
    }
    return { ...reply, body: JSON.stringify(authorization) };
  });
});

afterAll(async () => {
  await front?.close();
  await pebble?.close();
  await knot?.stop();
});

const server = () => ({ host: "127.0.0.1", port: knot.port });
const dns = () => createDnsClient({ clock, servers: [server()] });
const zone = () =>
  createRfc2136({ kind: "rfc2136", server: server(), zone: undefined, key: knot.key }, clock);

async function failureOf(work: Promise<unknown>): Promise<EdgeError> {
  const thrown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(thrown).toBeInstanceOf(EdgeError);
  return thrown as EdgeError;
}

test("one order waits for the record, says which one, and goes on when it is there", async () => {
  const lines: string[] = [];
  const log = createLog({ write: (line) => void lines.push(line) });
  const issuer = createAcmeIssuer({
    config: { directory: front.directory, trustedCa: front.ca, email: undefined, agreeToTerms: true },
    storage: createMemoryStorage(),
    challenge: createHttpChallenge(),
    solvers: [persistSolver({ dns: dns(), clock, log })],
    clock,
  });
  for (let i = 0; i < 2; i++) {
    const failure = await failureOf(issuer.issue("app.example.test", never));
    expect(failure).toMatchObject({ code: "PREFLIGHT_FAILED", retry: "any" });
    expect(failure.message).toMatch(
      /set this record once, and keep it: _validation-persist\.app\.example\.test TXT "ca\.test; /,
    );
  }
  const wanted = JSON.parse(lines.find((line) => line.includes("challenge.record_wanted")) ?? "{}") as {
    record: string;
    value: string;
  };
  expect(wanted).toMatchObject({ host: "app.example.test", type: "TXT" });
  await zone().present(wanted.record, wanted.value, never);
  expect((await issuer.issue("app.example.test", never)).chain).toContain("BEGIN CERTIFICATE");
  expect(front.orders("app.example.test")).toHaveLength(1);
  // It stands for the next one, too.
  await issuer.issue("app.example.test", never);
});

test.each([
  ["the name's own record", "a", false, `ca.test; accounturi=${ACCOUNT}`, true],
  ["another name of the CA", "b", false, `Other.Test.;AccountURI=${ACCOUNT}`, true],
  ["another account", "c", false, "ca.test; accounturi=https://ca.test/acct/2", false],
  ["another CA", "d", false, `elsewhere.test; accounturi=${ACCOUNT}`, false],
  ["a wildcard without the policy", "e", true, `ca.test; accounturi=${ACCOUNT}`, false],
  ["a wildcard with it", "f", true, `ca.test; accounturi=${ACCOUNT}; policy=wildcard`, true],
  ["one that is over", "g", false, `ca.test; accounturi=${ACCOUNT}; persistUntil=1000000000`, false],
  ["one that is not", "h", false, `ca.test; accounturi=${ACCOUNT}; persistUntil=9999999999`, true],
  ["one with a date that is none", "i", false, `ca.test; accounturi=${ACCOUNT}; persistUntil=soon`, false],
])("%s is judged as the CA will", async (_what, label, wildcard, value, good) => {
  const name = `${label}.example.test`;
  await zone().present(`_validation-persist.${name}`, value, never);
  const answer: ChallengeAnswer = {
    name,
    wildcard,
    token: "",
    keyAuthorization: "",
    accountUrl: ACCOUNT,
    challenge: { type: "dns-persist-01", "issuer-domain-names": ["ca.test", "other.test"] },
  };
  const work = persistSolver({ dns: dns(), clock, log: silentLog }).present(answer, never);
  if (good) await (await work)();
  else expect(await failureOf(work)).toMatchObject({ code: "PREFLIGHT_FAILED" });
});

test("a record of a name above counts where its policy says so", async () => {
  const answer = (name: string): ChallengeAnswer => ({
    name,
    wildcard: false,
    token: "",
    keyAuthorization: "",
    accountUrl: ACCOUNT,
    challenge: { "issuer-domain-names": ["ca.test"] },
  });
  const solver = persistSolver({ dns: dns(), clock, log: silentLog });
  await zone().present("_validation-persist.up.example.test", `ca.test; accounturi=${ACCOUNT}`, never);
  await failureOf(solver.present(answer("a.up.example.test"), never));
  const wide = `ca.test; accounturi=${ACCOUNT}; policy=wildcard`;
  await zone().present("_validation-persist.up.example.test", wide, never);
  await solver.present(answer("a.up.example.test"), never);
});
