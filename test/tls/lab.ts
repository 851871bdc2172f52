/** What tests of certificates share: Pebble behind a front, an address for challenges, and managers with everything to be seen. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { AcmeConfig } from "../../src/config/config.ts";
import type { Log, LogFields } from "../../src/log.ts";
import { createMetrics, type Metrics } from "../../src/metrics.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { createHttpChallenge, type HttpChallenge } from "../../src/tls/challenge.ts";
import { createAcmeIssuer, type Issuer } from "../../src/tls/issuer.ts";
import type { CertificateStatus } from "../../src/tls/keeper.ts";
import type { CaLimits } from "../../src/tls/limits.ts";
import {
  type CertificateManager,
  createCertificateManager,
  type ManagedHost,
} from "../../src/tls/manager.ts";
import { createResolver, type Resolver } from "../../src/tls/resolver.ts";
import { type AcmeFront, startAcmeFront } from "../support/acme-front.ts";
import { type JumpingClock, jumpingClock } from "../support/manual-clock.ts";
import { type Pebble, type PebbleOptions, startPebble } from "../support/pebble.ts";

export interface LoggedEvent extends LogFields {
  event: string;
  level: string;
}

export interface LabEdge {
  readonly manager: CertificateManager;
  readonly resolver: Resolver;
  readonly storage: Storage;
  readonly clock: JumpingClock;
  readonly events: LoggedEvent[];
  readonly metrics: Metrics;
  /** Waits for a logged event; those before `after` events of this name do not count. */
  event(name: string, after?: number): Promise<LoggedEvent>;
  status(host?: string): CertificateStatus;
}

export interface EdgeOptions {
  readonly hosts: ManagedHost[];
  /** One for each CA. @default the front alone */
  readonly acme?: Partial<AcmeConfig>[];
  readonly storage?: Storage;
  readonly clock?: JumpingClock;
  readonly limits?: CaLimits;
  readonly random?: () => number;
  readonly pollTimeoutMs?: number;
  readonly requestTimeoutMs?: number;
}

export interface Lab {
  readonly pebble: Pebble;
  readonly front: AcmeFront;
  /** A CA of the front's, as config. */
  config(facts?: Partial<AcmeConfig>): AcmeConfig;
  edge(options: EdgeOptions): LabEdge;
  /** Names whose challenges are answered wrongly. */
  readonly deaf: Set<string>;
  /** Answers challenges for edges of other processes. */
  readonly answerers: Set<(host: string, path: string) => Promise<string | undefined>>;
  /** Port for challenges, for another process that answers them itself. */
  readonly challengePort: number;
  /** Closes every manager. */
  reset(): Promise<void>;
  close(): Promise<void>;
}

export async function startLab(options: Omit<PebbleOptions, "httpPort"> = {}): Promise<Lab> {
  const challenges = new Set<HttpChallenge>();
  const managers: CertificateManager[] = [];
  const deaf = new Set<string>();
  const answerers: Lab["answerers"] = new Set();
  // As with one address for a fleet, any edge may be asked.
  const server = createServer(async (request, response) => {
    const host = (request.headers.host ?? "").replace(/:\d+$/, "");
    let answer: string | undefined;
    for (const each of deaf.has(host) ? [] : challenges) {
      answer ??= await each.answerSoon(request.url ?? "", AbortSignal.timeout(1000));
    }
    for (const each of answerers) answer ??= await each(host, request.url ?? "");
    response.statusCode = answer === undefined ? 404 : 200;
    response.end(answer);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const challengePort = (server.address() as AddressInfo).port;
  const pebble = await startPebble({ httpPort: challengePort, ...options });
  const front = await startAcmeFront(pebble);
  const config = (facts: Partial<AcmeConfig> = {}): AcmeConfig => ({
    directory: front.directory,
    trustedCa: front.ca,
    email: undefined,
    agreeToTerms: true,
    ...facts,
  });

  return {
    pebble,
    front,
    config,
    deaf,
    answerers,
    challengePort,
    edge({ hosts, acme = [{}], storage = createMemoryStorage(), clock = jumpingClock(), ...rest }) {
      const { events, log, event } = recorder();
      const challenge = createHttpChallenge({ storage, wall: () => clock.wall() });
      challenges.add(challenge);
      const resolver = createResolver();
      const metrics = createMetrics();
      const { limits, random = Math.random, pollTimeoutMs, requestTimeoutMs } = rest;
      const issuer: Issuer[] = acme.map((facts) =>
        createAcmeIssuer({
          config: config(facts),
          storage,
          challenge,
          clock,
          log,
          ...(pollTimeoutMs !== undefined && { pollTimeoutMs }),
          ...(requestTimeoutMs !== undefined && { requestTimeoutMs }),
        }),
      );
      const manager = createCertificateManager({
        hosts,
        storage,
        issuer,
        resolver,
        clock,
        random,
        log,
        metrics,
        ...(limits && { limits: () => limits }),
      });
      const closing = manager.close;
      manager.close = () => {
        // Its process is gone, and does not answer any more.
        challenges.delete(challenge);
        return closing();
      };
      managers.push(manager);
      return {
        manager,
        resolver,
        storage,
        clock,
        events,
        metrics,
        event,
        status: (host) => manager.status().find((each) => host === undefined || each.host === host)!,
      };
    },
    async reset() {
      for (const manager of managers.splice(0)) await manager.close();
      challenges.clear();
      deaf.clear();
      front.reset();
    },
    async close() {
      for (const manager of managers.splice(0)) await manager.close();
      await front.close();
      await pebble.close();
      server.close();
    },
  };
}

function recorder(): { events: LoggedEvent[]; log: Log; event: LabEdge["event"] } {
  const events: LoggedEvent[] = [];
  const waiting = new Set<() => void>();
  const at =
    (level: string) =>
    (event: string, fields: LogFields = {}): void => {
      events.push({ ...fields, event, level });
      for (const check of waiting) check();
    };
  const log: Log = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error"), flush() {} };
  const event = (name: string, after = 0): Promise<LoggedEvent> =>
    new Promise((resolve, reject) => {
      const bound = setTimeout(() => {
        waiting.delete(check);
        reject(new Error(`no ${name} within 15 s, but ${JSON.stringify(events)}`));
      }, 15_000);
      const check = (): void => {
        const found = events.filter((each) => each.event === name)[after];
        if (!found) return;
        clearTimeout(bound);
        waiting.delete(check);
        resolve(found);
      };
      waiting.add(check);
      check();
    });
  return { events, log, event };
}

/** Waits for a condition for at most five seconds. */
export async function until(reached: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 5000;
  while (!(await reached())) {
    if (performance.now() > end) throw new Error("it did not come");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
