import { expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { AcmeConfig, AcmeDnsConfig } from "../../src/config/config.ts";
import { silentLog } from "../../src/log.ts";
import { createAlpnChallenge } from "../../src/tls/alpn-challenge.ts";
import { createHttpChallenge } from "../../src/tls/challenge.ts";
import { createRfc2136 } from "../../src/tls/rfc2136.ts";
import { createSolvers } from "../../src/tls/solvers.ts";
import { startKnot } from "../support/knot.ts";

test("a changed DNS hook is used from the next proof on, and the old one takes away what it put there", async () => {
  const knot = await startKnot({ zones: { "example.test": [] } });
  try {
    const calls: string[] = [];
    const server = { host: "127.0.0.1", port: knot.port };
    const primary = createRfc2136({ kind: "rfc2136", server, zone: undefined, key: knot.key }, systemClock);
    const never = new AbortController().signal;
    const hook = (name: string): AcmeDnsConfig => ({
      kind: "hook",
      hook: {
        async present(record, value) {
          calls.push(`${name} present`);
          await primary.present(record, value, never);
        },
        async remove() {
          calls.push(`${name} remove`);
        },
      },
    });
    let dns = hook("old");
    const config: AcmeConfig = {
      directory: "https://127.0.0.1:9/dir",
      trustedCa: undefined,
      email: undefined,
      agreeToTerms: true,
      dns,
      dnsServers: [server],
    };
    const [solver] = createSolvers({
      config,
      dnsConfig: () => dns,
      http: createHttpChallenge(),
      alpn: createAlpnChallenge(() => systemClock.wall()),
      clock: systemClock,
      log: silentLog,
    });
    const answer = {
      name: "a.example.test",
      wildcard: false,
      token: "token",
      keyAuthorization: "token.thumbprint",
      accountUrl: "https://127.0.0.1:9/account/1",
      challenge: {},
    };
    const takeAway = await solver!.present(answer, never);
    dns = hook("new");
    const takeAwayNew = await solver!.present(answer, never);
    await takeAway();
    await takeAwayNew();
    expect(calls).toEqual(["old present", "new present", "old remove", "new remove"]);
  } finally {
    await knot.stop();
  }
});
