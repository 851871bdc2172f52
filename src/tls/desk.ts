/** Where orders are placed: the CAs in the operator's order, each with its books. */
import type { Clock } from "../clock.ts";
import { EdgeError, errorFields, messageOf } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import type { RenewalInfo } from "./ari.ts";
import { backoff } from "./backoff.ts";
import { type Books, createBooks, type Limit, limitError, quietly } from "./books.ts";
import type { Bundle } from "./bundle.ts";
import { type IssuedCertificate, type Issuer, isTransient, type OrderWish } from "./issuer.ts";
import { type CaLimits, limitsOf, type OrderKind } from "./limits.ts";
import { problemOf } from "./problem.ts";

export interface Placed extends IssuedCertificate {
  /** The issuer's name. */
  readonly issuer: string;
}

export interface Desk {
  /** The issuers' names, in order. */
  readonly names: readonly string[];
  /** Sees to the accounts. What is wrong with one is logged once; throws where none is right. */
  prepare(signal: AbortSignal): Promise<void>;
  /** The limit that ends first, where there is one at every CA; undefined: an order may be sent. */
  blocked(host: string, current: Bundle | undefined, wish: OrderWish): Promise<Limit | undefined>;
  /**
   * Orders at the first CA that can: the next one is asked after faults, refusals and limits of a CA, but not after a failed
   * validation, which would fail there too. Throws ACME_LIMITED where nothing was sent.
   */
  order(host: string, current: Bundle | undefined, wish: OrderWish, signal: AbortSignal): Promise<Placed>;
  renewalInfo(issuer: string, ariId: string, signal: AbortSignal): Promise<RenewalInfo | undefined>;
  /** What to add to our clock for the CA's time; 0 where they agree. */
  skewMs(): number;
}

export interface DeskOptions {
  issuers: readonly Issuer[];
  storage: Storage;
  clock: Clock;
  log: Log;
  /** @default what is known of the issuer's directory */
  limits?: (issuer: Issuer) => CaLimits;
}

/** Beyond it, dates of certificates are no longer what they seem. */
const SKEW_BOUND_MS = 5 * 60_000;

export function createDesk(options: DeskOptions): Desk {
  const { issuers, storage, clock, log } = options;
  const wall = (): number => clock.wall();
  const booksOf = new Map<Issuer, Books>(
    issuers.map((issuer) => {
      const limits = options.limits?.(issuer) ?? limitsOf(issuer.directory);
      return [issuer, createBooks({ storage, issuer: issuer.name, limits, wall, log })];
    }),
  );
  /** CAs in trouble, and until when another one is asked first. */
  const outages = new Map<Issuer, { failures: number; until: number }>();
  const skewed = new Set<Issuer>();
  /** What is wrong with an issuer's account, as it was said last. */
  const unprepared = new Map<Issuer, string>();

  const books = (issuer: Issuer): Books => booksOf.get(issuer)!;
  const isDown = (issuer: Issuer): boolean => (outages.get(issuer)?.until ?? 0) > clock.now();
  const inTurn = (): Issuer[] => [...issuers.filter((each) => !isDown(each)), ...issuers.filter(isDown)];
  const noteOutage = (issuer: Issuer, thrown: unknown): void => {
    const failures = (outages.get(issuer)?.failures ?? 0) + 1;
    const wait = backoff({ kind: "free", failures, thrown, lifetimeMs: undefined, random: () => 0.5 });
    outages.set(issuer, { failures, until: clock.now() + wait });
  };
  const wishAt = (issuer: Issuer, current: Bundle | undefined, wish: OrderWish): OrderWish => ({
    ...wish,
    // A certificate can be replaced at its own CA only, and another CA may not know the profile.
    replaces: current?.issuer === issuer.name ? wish.replaces : undefined,
    profileOptional: wish.profileOptional === true || issuer !== issuers[0],
  });
  const kindAt = (issuer: Issuer, current: Bundle | undefined, wish: OrderWish): OrderKind => {
    if (current?.issuer !== issuer.name) return "new";
    return wish.replaces === undefined ? "renewal" : "replacement";
  };

  /** A clock that is wrong is said once, and once that it is right again. */
  const watchClock = (issuer: Issuer): void => {
    const skewMs = issuer.skewMs?.();
    if (skewMs === undefined) return;
    const fields = { issuer: issuer.name, caAheadSeconds: Math.round(skewMs / 1000) };
    if (Math.abs(skewMs) > SKEW_BOUND_MS) {
      if (!skewed.has(issuer)) log.error("clock.skewed", fields);
      skewed.add(issuer);
    } else if (skewed.delete(issuer)) log.info("clock.right", fields);
  };

  const note = async (
    issuer: Issuer,
    host: string,
    kind: OrderKind,
    thrown: unknown,
    counted: boolean,
  ): Promise<void> => {
    const own = books(issuer);
    const problem = problemOf(thrown);
    if (counted) await quietly(log, own.giveBack(host, kind));
    if (problem?.type === "rateLimited") await quietly(log, own.refused(host, kind, problem));
    if (isFailedValidation(thrown)) await quietly(log, own.failed(host));
    if (isTransient(thrown)) noteOutage(issuer, thrown);
    else outages.delete(issuer);
  };

  return {
    names: issuers.map(({ name }) => name),
    async prepare(signal) {
      const up = issuers.filter((issuer) => !isDown(issuer));
      const asked = up.length > 0 ? up : issuers;
      const failed: unknown[] = [];
      const prepareOne = async (issuer: Issuer): Promise<void> => {
        try {
          await issuer.prepare?.(signal);
          unprepared.delete(issuer);
        } catch (thrown) {
          failed.push(thrown);
          if (signal.aborted) return;
          if (isTransient(thrown)) noteOutage(issuer, thrown);
          // Every order asks for the account first: what is wrong with it is said once, not by each of them.
          const message = messageOf(thrown);
          if (unprepared.get(issuer) === message) return;
          unprepared.set(issuer, message);
          log.warn("certificate.prepare_failed", { issuer: issuer.name, ...errorFields(thrown) });
        }
        watchClock(issuer);
      };
      await Promise.all(asked.map(prepareOne));
      if (signal.aborted) throw signal.reason;
      // One account is enough to go on; the others are asked again when they are needed.
      if (failed.length === asked.length) throw failed[0];
    },
    async blocked(host, current, wish) {
      let soonest: Limit | undefined;
      for (const issuer of issuers) {
        if (await issuer.hasPending?.(host)) return undefined;
        const limit = await books(issuer).check(host, kindAt(issuer, current, wishAt(issuer, current, wish)));
        if (!limit) return undefined;
        if (!soonest || limit.until < soonest.until) soonest = limit;
      }
      return soonest;
    },
    async order(host, current, wish, signal) {
      const failures: unknown[] = [];
      const turn = inTurn();
      for (const issuer of turn) {
        const asked = wishAt(issuer, current, wish);
        const kind = kindAt(issuer, current, asked);
        const resumed = (await issuer.hasPending?.(host)) === true;
        const limit = resumed ? undefined : await books(issuer).take(host, kind);
        if (limit) {
          failures.push(limitError(host, limit));
          continue;
        }
        try {
          const issued = await issuer.issue(host, signal, asked);
          outages.delete(issuer);
          return { issuer: issuer.name, ...issued };
        } catch (thrown) {
          if (signal.aborted) throw thrown;
          await note(issuer, host, kind, thrown, !resumed);
          failures.push(thrown);
          if (!fallsBack(thrown)) throw thrown;
          if (issuer !== turn.at(-1)) {
            log.warn("certificate.fallback", { host, from: issuer.name, message: messageOf(thrown) });
          }
        } finally {
          watchClock(issuer);
        }
      }
      // What was spent decides how long to wait; otherwise what the first one said.
      throw failures.find((each) => !(each instanceof EdgeError) || each.retry !== "any") ?? failures[0];
    },
    async renewalInfo(issuer, ariId, signal) {
      const found = issuers.find(({ name }) => name === issuer);
      const info = await found?.renewalInfo?.(ariId, signal);
      if (found) watchClock(found);
      return info;
    },
    skewMs() {
      const first = issuers.find((issuer) => skewed.has(issuer));
      return first?.skewMs?.() ?? 0;
    },
  };
}

/** Problems of a validation that lie with the CA, not with the name. */
const OF_THE_CA = new Set(["caa", "rejectedIdentifier", "serverInternal", "rateLimited"]);

function isFailedValidation(thrown: unknown): boolean {
  if (!(thrown instanceof EdgeError) || thrown.code !== "ACME_CHALLENGE_FAILED") return false;
  const { type = "none", subproblems = [] } = problemOf(thrown) ?? {};
  if (type !== "compound" || subproblems.length === 0) return !OF_THE_CA.has(type);
  // RFC 8555 §6.7.1: what it is made of says what it is.
  return !subproblems.every((each) => OF_THE_CA.has(each.slice(0, each.indexOf(":"))));
}

/** Whether another CA may succeed where this one did not. */
function fallsBack(thrown: unknown): boolean {
  return thrown instanceof EdgeError && thrown.source === "ca" && !isFailedValidation(thrown);
}
