/**
 * When one host's certificate is renewed: in the window that its CA suggests (RFC 9773), at a moment drawn once and kept in
 * storage for the whole fleet; without a window by the certificate's own dates; past the emergency point in any case.
 */
import { type Clock, jitter, type Random } from "../clock.ts";
import { errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { chooseTime, emergencyStart, type RenewalInfo } from "./ari.ts";
import type { Bundle } from "./bundle.ts";
import { renewalStart, renewalTime } from "./certificate.ts";
import { hostKey } from "./keys.ts";
import type { RenewalOutages } from "./renewal-outages.ts";

/** Wall times in milliseconds. */
export interface RenewalPlan {
  /** `ari`: the CA's window; `lifetime`: the certificate's dates; `emergency`: both are too late; `issuer`: another CA is configured. */
  readonly source: "ari" | "lifetime" | "emergency" | "issuer";
  readonly start: number;
  readonly end: number;
  /** Chosen within it. */
  readonly at: number;
  /** Where the CA explains its window. */
  readonly explanationUrl: string | undefined;
  /** When the CA is asked again. */
  readonly checkAt: number | undefined;
}

export interface RenewalParts {
  clock: Clock;
  random: Random;
  log: Log;
  storage: Storage;
  /** The issuers whose certificates stay until they are due. */
  issuers: readonly string[];
  ask(bundle: Bundle, ariId: string): Promise<RenewalInfo | undefined>;
  outages: RenewalOutages;
}

export interface Renewal {
  /** A new bundle is in use; `fresh`: just issued, so its CA is asked at once. */
  use(bundle: Bundle, fresh: boolean): void;
  plan(): RenewalPlan | undefined;
  /** When to renew. 0 before any bundle. */
  at(): number;
  /** When {@link check} has something to do; infinite where it never has. */
  checkAt(): number;
  /** Asks the CA where it is time. Never rejects. */
  check(signal: AbortSignal): Promise<void>;
  /** Whether the renewal's order should say that it replaces the certificate in use. */
  replaces(): string | undefined;
  /** Renews at the next look, whatever the plan. */
  hasten(): void;
}

interface Window {
  readonly ariId: string;
  readonly start: number;
  readonly end: number;
  readonly at: number;
  readonly explanationUrl: string | undefined;
  readonly checkAt: number;
}

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** Loaded certificates are looked up over this time, not all in the first moment. */
const SPREAD_MS = MINUTE_MS;

export function createRenewal(host: string, parts: RenewalParts): Renewal {
  const { clock, random, log, storage, issuers, ask, outages } = parts;
  const storageKey = hostKey("renewal", host);
  let bundle: Bundle | undefined;
  let window: Window | undefined;
  let byLifetime = 0;
  let checkAt = Number.POSITIVE_INFINITY;
  let failures = 0;
  let hastened = false;

  const stored = async (ariId: string): Promise<Window | undefined> => {
    const bytes = await storage.load(storageKey).catch(() => undefined);
    const found = bytes && parse(bytes);
    // A check that is far off was written by a clock gone wrong.
    return found?.ariId === ariId && found.checkAt < clock.wall() + 2 * DAY_MS ? found : undefined;
  };
  const keep = async (next: Window): Promise<void> => {
    window = next;
    checkAt = next.checkAt;
    const text = JSON.stringify({ version: 1, ...next });
    await storage.store(storageKey, new TextEncoder().encode(`${text}\n`)).catch((thrown: unknown) => {
      // Only a restart or a peer would ask again.
      log.warn("certificate.renewal_unstored", { host, ...errorFields(thrown) });
    });
  };

  const refresh = async (current: Bundle, ariId: string): Promise<void> => {
    const info = await ask(current, ariId);
    failures = 0;
    outages.answered(current.issuer);
    if (!info) {
      checkAt = clock.wall() + DAY_MS;
      return;
    }
    const { start, end, explanationUrl, checkAfterMs } = info;
    // The same window keeps its moment: drawing again would pull everybody towards its beginning.
    const same = window?.start === start && window.end === end ? window : undefined;
    const at = same?.at ?? chooseTime(info, random);
    if (!same && bundle === current) {
      log.info("certificate.renewal_window", {
        host,
        start: iso(start),
        end: iso(end),
        at: iso(at),
        ...(explanationUrl !== undefined && { explanationUrl }),
      });
    }
    if (bundle !== current) return;
    await keep({ ariId, start, end, at, explanationUrl, checkAt: clock.wall() + checkAfterMs });
  };

  const plan = (): RenewalPlan | undefined => {
    if (!bundle) return undefined;
    const common = { explanationUrl: window?.explanationUrl, checkAt: finite(checkAt) };
    const { notAfter } = bundle;
    if (!issuers.includes(bundle.issuer))
      return { ...common, source: "issuer", start: 0, end: notAfter, at: 0 };
    // A certificate that is due as soon as it comes (a clock gone wrong) must not cause a storm of orders.
    const earliest = bundle.obtainedAt + Math.max(1000, (notAfter - bundle.notBefore) / 20);
    const emergency = emergencyStart(bundle);
    const wanted = window?.at ?? byLifetime;
    const at = Math.max(Math.min(wanted, emergency), earliest);
    if (wanted > emergency) return { ...common, source: "emergency", start: emergency, end: notAfter, at };
    if (window) return { ...common, source: "ari", start: window.start, end: window.end, at };
    return { ...common, source: "lifetime", start: renewalStart(bundle), end: notAfter, at };
  };

  return {
    use(next, fresh) {
      bundle = next;
      window = undefined;
      hastened = false;
      failures = 0;
      byLifetime = renewalTime(next, random);
      const spread = fresh ? 0 : Math.min(SPREAD_MS, (next.notAfter - next.notBefore) / 50) * random();
      const known = next.ariId !== undefined && issuers.includes(next.issuer);
      checkAt = known ? clock.wall() + spread : Number.POSITIVE_INFINITY;
    },
    plan,
    at: () => (hastened ? 0 : (plan()?.at ?? 0)),
    checkAt: () => checkAt,
    async check(signal) {
      const current = bundle;
      const ariId = current?.ariId;
      if (!current || ariId === undefined || clock.wall() < checkAt) return;
      // RFC 9773 §4.3: nothing is asked of what has expired.
      if (clock.wall() >= current.notAfter) {
        checkAt = Number.POSITIVE_INFINITY;
        return;
      }
      try {
        const shared = await stored(ariId);
        if (shared && bundle === current) {
          window = shared;
          checkAt = shared.checkAt;
          if (checkAt > clock.wall()) return;
        }
        await refresh(current, ariId);
      } catch (thrown) {
        if (signal.aborted || bundle !== current) return;
        const wait = jitter(Math.min(MINUTE_MS * 2 ** failures++, 6 * HOUR_MS), 0.1, random);
        checkAt = clock.wall() + wait;
        outages.failed(current.issuer, host, thrown, checkAt);
      }
    },
    replaces: () => (window && bundle?.ariId === window.ariId ? window.ariId : undefined),
    hasten() {
      hastened = true;
    },
  };
}

const finite = (at: number): number | undefined => (Number.isFinite(at) ? at : undefined);
const iso = (ms: number): string => new Date(ms).toISOString();

function parse(bytes: Uint8Array): Window | undefined {
  try {
    const { ariId, start, end, at, explanationUrl, checkAt } = JSON.parse(
      new TextDecoder().decode(bytes),
    ) as Record<string, unknown>;
    if (typeof ariId !== "string") return undefined;
    if (typeof start !== "number" || typeof end !== "number") return undefined;
    if (typeof at !== "number" || typeof checkAt !== "number") return undefined;
    const url = typeof explanationUrl === "string" ? explanationUrl : undefined;
    return { ariId, start, end, at, explanationUrl: url, checkAt };
  } catch {
    // Half a record: the CA is asked.
    return undefined;
  }
}
