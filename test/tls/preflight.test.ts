import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { AcmeConfig } from "../../src/config/config.ts";
import { EdgeError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { failureKind } from "../../src/tls/backoff.ts";
import { createHttpChallenge } from "../../src/tls/challenge.ts";
import { createDnsClient } from "../../src/tls/dns-client.ts";
import { createAcmeIssuer } from "../../src/tls/issuer.ts";
import { type Applicant, createPreflight, isPublicDirectory } from "../../src/tls/preflight.ts";
import { reachAnswer } from "../../src/tls/reach.ts";
import { type Knot, startKnot } from "../support/knot.ts";
import { startPebble } from "../support/pebble.ts";
import { freePorts } from "../support/ports.ts";

const THUMBPRINT = "t".repeat(43);
const ACCOUNT = "https://ca.test/acct/1";
const APPLICANT: Applicant = { accountUrl: ACCOUNT, thumbprint: THUMBPRINT };
const never = new AbortController().signal;
const clock = systemClock;

let knot: Knot;
let edge: Server;
let port: number;
let answering = true;
const hosts: string[] = [];

beforeAll(async () => {
  edge = createServer((request, response) => {
    hosts.push(request.headers.host ?? "");
    const answer = answering
      ? reachAnswer(request.url ?? "", ["another".padEnd(43, "x"), THUMBPRINT])
      : undefined;
    response.statusCode = answer === undefined ? 404 : 200;
    response.end(answer ?? "a router's own page");
  });
  await new Promise<void>((resolve) => edge.listen(0, "127.0.0.1", resolve));
  port = (edge.address() as { port: number }).port;
  const name = (label: string, ...caa: string[]): string[] => [
    `${label} 60 A 127.0.0.1`,
    ...caa.map((record) => `${label} 60 CAA ${record}`),
  ];
  knot = await startKnot({
    zones: {
      // Where the climb ends that looks for CAA records.
      test: [],
      "example.test": [
        ...name("good"),
        "both 60 A 127.0.0.1",
        "both 60 AAAA ::1",
        "alias 60 CNAME good",
        "text 60 TXT nothing",
        ...name("ours", '0 issue "ca.test; x=y"', '0 issue "other.test"'),
        ...name("theirs", '0 issue "other.test"'),
        ...name("below.theirs"),
        ...name("nobody", '0 issue ";"'),
        ...name("mail", '0 iodef "mailto:ops@example.test"'),
        ...name("wild", '0 issue "ca.test"', '0 issuewild "other.test"'),
        ...name("onlywild", '0 issuewild "other.test"'),
        ...name("critical", '128 tbs "unknown"'),
        ...name("account", `0 issue "ca.test; accounturi=${ACCOUNT}"`),
        ...name("account2", '0 issue "ca.test; accounturi=https://ca.test/acct/2"'),
        ...name("method", '0 issue "ca.test; validationmethods=dns-01,http-01"'),
        ...name("method2", '0 issue "ca.test; validationmethods=dns-01"'),
      ],
    },
  });
});

afterAll(async () => {
  edge?.close();
  await knot?.stop();
});

function preflight(
  acme: Partial<AcmeConfig> = {},
  date = new Date(clock.wall()).toUTCString(),
  watch: Clock = clock,
) {
  const config: AcmeConfig = {
    directory: "https://ca.test/dir",
    trustedCa: undefined,
    email: undefined,
    agreeToTerms: true,
    ...acme,
  };
  return createPreflight({
    config,
    clock: watch,
    log: silentLog,
    httpPort: port,
    dns: createDnsClient({ clock, servers: [{ host: "127.0.0.1", port: knot.port }] }),
    transport: async () => ({
      status: 200,
      headers: { date },
      data: { meta: { caaIdentities: ["ca.test"] } },
    }),
  });
}

async function failureOf(work: Promise<unknown>): Promise<EdgeError> {
  const thrown = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(thrown).toBeInstanceOf(EdgeError);
  return thrown as EdgeError;
}

describe("a look before an order", () => {
  test("finds nothing wrong with a name that leads here", async () => {
    hosts.length = 0;
    await preflight().check("good.example.test", APPLICANT, never);
    expect(hosts).toEqual([`good.example.test:${port}`]);
    await preflight().check("alias.example.test", APPLICANT, never);
    const findings = await preflight().look("good.example.test", APPLICANT, never);
    expect(findings.map(({ check, ok }) => [check, ok])).toEqual([
      ["ca", true],
      ["clock", true],
      ["dns", true],
      ["port 80", true],
      ["caa", true],
    ]);
  });

  test("delays a name without address until it has one, and says which record to set", async () => {
    const look = preflight();
    for (const host of ["text.example.test", "missing.example.test"]) {
      for (let i = 0; i < 6; i++) {
        const failure = await failureOf(look.check(host, APPLICANT, never));
        expect(failure).toMatchObject({ code: "PREFLIGHT_FAILED", source: "operator" });
        expect(failure.message).toContain(`add an A record (IPv4) or AAAA record (IPv6) for ${host}`);
        // It spends nothing, so it is tried again soon and is no failure at the CA.
        expect(failureKind(failure)).toBe("free");
      }
    }
  });

  test("delays one that leads elsewhere three times, then lets the CA decide", async () => {
    answering = false;
    try {
      const look = preflight();
      for (let i = 0; i < 3; i++) {
        const failure = await failureOf(look.check("good.example.test", APPLICANT, never));
        expect(failure.message).toContain(`127.0.0.1:${port}: something else answers there (status 404)`);
        expect(failure.message).toContain("let the A record of good.example.test not say 127.0.0.1");
      }
      await look.check("good.example.test", APPLICANT, never);
    } finally {
      answering = true;
    }
  });

  test("wants an answer at every address, of both families", async () => {
    const failure = await failureOf(preflight().check("both.example.test", APPLICANT, never));
    expect(failure.message).toContain(`[::1]:${port}: it cannot be reached`);
    expect(failure.message).toContain("AAAA record of both.example.test");
    expect(failure.message).not.toContain(`127.0.0.1:${port}`);
  });

  test("minds no port 80 where another challenge is used, and no address where it is DNS", async () => {
    answering = false;
    try {
      await preflight({ challenges: ["tls-alpn-01"] }).check("good.example.test", APPLICANT, never);
      await preflight({ challenges: ["dns-01"] }).check("missing.example.test", APPLICANT, never);
    } finally {
      answering = true;
    }
  });

  test("finds a clock that is wrong", async () => {
    const ahead = new Date(clock.wall() + 2 * 86_400_000).toUTCString();
    const failure = await failureOf(preflight({}, ahead).check("good.example.test", APPLICANT, never));
    expect(failure.message).toMatch(/this machine's clock is 17\d{4} s behind the CA's; set the clock/);
  });

  test("ends at once when it is no longer wanted", async () => {
    const stop = new AbortController();
    const work = preflight().check("good.example.test", APPLICANT, stop.signal);
    stop.abort(new EdgeError("SHUTTING_DOWN", "over"));
    expect(await failureOf(work)).toMatchObject({ code: "SHUTTING_DOWN" });
  });

  test.each([
    ["ours.example.test"],
    ["mail.example.test"],
    ["wild.example.test"],
    ["onlywild.example.test"],
    ["account.example.test"],
    ["method.example.test"],
  ])("lets %s pass, as its CAA records do", async (host) => {
    await preflight().check(host, APPLICANT, never);
  });

  test.each([
    [
      "theirs.example.test",
      /let only "other\.test" issue; add theirs\.example\.test CAA 0 issue "ca\.test"$/,
    ],
    ["below.theirs.example.test", /CAA records of theirs\.example\.test let only "other\.test" issue/],
    ["nobody.example.test", /let only ";" issue; add nobody\.example\.test CAA 0 issue "ca\.test"$/],
    ["*.wild.example.test", /add wild\.example\.test CAA 0 issuewild "ca\.test"$/],
    ["critical.example.test", /critical tag "tbs"/],
    [
      "account2.example.test",
      /set account2\.example\.test CAA 0 issue "ca\.test; accounturi=https:\/\/ca\.test\/acct\/1; validationmethods=http-01"$/,
    ],
    ["method2.example.test", /bind the CA to another account or challenge/],
  ])("delays %s for as long as its CAA records forbid it", async (host, message) => {
    const look = preflight();
    for (let i = 0; i < 5; i++) {
      const failure = await failureOf(look.check(host, APPLICANT, never));
      expect(failure.message).toMatch(message);
      // This CA alone: the next one may be allowed.
      expect(failure.source).toBe("ca");
    }
  });
});

test("an order is not made while a look finds something wrong, and is made when it is mended", async () => {
  const challenge = createHttpChallenge();
  const front = createServer((request, response) => {
    response.end(challenge.answer(request.url ?? ""));
  });
  await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
  const pebble = await startPebble({ httpPort: (front.address() as { port: number }).port });
  try {
    let fault: EdgeError | undefined = new EdgeError("PREFLIGHT_FAILED", "not yet", { retry: "any" });
    const asked: Applicant[] = [];
    const issuer = createAcmeIssuer({
      config: { directory: pebble.directory, trustedCa: pebble.ca, email: undefined, agreeToTerms: true },
      storage: createMemoryStorage(),
      challenge,
      preflight: {
        async check(_host, applicant) {
          asked.push(applicant);
          if (fault) throw fault;
        },
      },
      clock,
    });
    expect(await failureOf(issuer.issue("a.example.test", never))).toBe(fault);
    expect(await issuer.hasPending?.("a.example.test")).toBe(false);
    fault = undefined;
    await issuer.issue("a.example.test", never);
    expect(asked[1]).toMatchObject({
      accountUrl: expect.stringContaining("/my-account/"),
      thumbprint: expect.stringMatching(/^[\w-]{43}$/),
    });
  } finally {
    await pebble.close();
    front.close();
  }
});

test("the look is on at CAs of the Internet and off at private ones", () => {
  for (const url of [
    "https://acme-v02.api.letsencrypt.org/directory",
    "https://8.8.8.8/dir",
    "https://[2606:4700::1]/",
  ])
    expect(isPublicDirectory(url), url).toBe(true);
  for (const url of [
    "https://127.0.0.1:14000/dir",
    "https://[::1]/dir",
    "https://10.0.0.5/dir",
    "https://[fd00::1]/dir",
    "https://localhost/dir",
    "https://ca/dir",
    "https://ca.internal/dir",
    "https://pebble.example.test/dir",
  ])
    expect(isPublicDirectory(url), url).toBe(false);
});

test("a nonce is answered only by who knows the account, and tells no thumbprint", () => {
  const path = `/.well-known/skerry/${"n".repeat(22)}`;
  expect(reachAnswer(path, [])).toBeUndefined();
  expect(reachAnswer("/.well-known/skerry/short", [THUMBPRINT])).toBeUndefined();
  expect(reachAnswer(`${path}?x`, [THUMBPRINT])).toBeUndefined();
  expect(reachAnswer(path, [THUMBPRINT])).not.toContain(THUMBPRINT);
  expect(reachAnswer(path, [THUMBPRINT])).not.toBe(reachAnswer(path, ["u".repeat(43)]));
});

test("ports that nobody listens on are said to be so", async () => {
  const [closed = 0] = await freePorts(1);
  const config: AcmeConfig = {
    directory: "https://ca.test/",
    trustedCa: undefined,
    email: undefined,
    agreeToTerms: true,
  };
  const look = createPreflight({
    config,
    clock,
    log: silentLog,
    httpPort: closed,
    dns: createDnsClient({ clock, servers: [{ host: "127.0.0.1", port: knot.port }] }),
    transport: () =>
      Promise.reject(new EdgeError("ACME_UNREACHABLE", "ca.test cannot be reached", { source: "ca" })),
  });
  const findings = await look.look("good.example.test", APPLICANT, never);
  expect(findings.filter(({ ok }) => !ok).map(({ check }) => check)).toEqual(["ca", "port 80"]);
});
