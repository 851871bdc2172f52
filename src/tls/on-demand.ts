/**
 * Host names that are not known beforehand, such as those that customers point here. The first handshake for one asks for
 * permission, before storage is looked at and before anything is ordered; then it waits a while for the certificate.
 *
 * Whatever strangers send is bounded: one question per name at a time, so many names at once, refusals remembered, and
 * as many hosts served as configured.
 */
import type { SecureContext } from "node:tls";
import { LRUCache } from "lru-cache";
import type { Clock, Timer } from "../clock.ts";
import type { OnDemandConfig } from "../config/config.ts";
import { EdgeError, errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { Permission } from "./permission.ts";

export interface OnDemandOptions {
  config: Pick<OnDemandConfig, "handshakeWaitMs" | "maxHosts">;
  permission: Permission;
  clock: Clock;
  log: Log;
  metrics: Metrics;
  /** What a handshake for a name gets now; undefined for a name that is not served. */
  context(name: string): SecureContext | undefined;
  /** When the certificate that a name is served with ends; undefined where it has none. */
  notAfter(name: string): number | undefined;
  /** Serves a name from storage, and orders what is missing; resolves once storage was looked at. */
  add(name: string): Promise<void>;
  /** No longer serves it; what is stored stays. */
  remove(name: string): void;
}

export interface OnDemand {
  /** For the name in a ClientHello. Never rejects; undefined refuses the handshake. */
  secureContext(serverName: string): SecureContext | undefined | Promise<SecureContext | undefined>;
  /** Whether a name may be served, asked for where it is not known. */
  permit(name: string): Promise<boolean>;
  /** Whether a name is served on demand now. */
  has(name: string): boolean;
  /** Whether a name may turn out to be one: it looks like one, and was not refused just now. */
  mayHave(name: string): boolean;
  /** A certificate came: whoever waits for it goes on. */
  arrived(name: string): void;
  close(): void;
}

/** How long a refusal is remembered; and how long it is where nobody could be asked. */
const REFUSED_MS = 60_000;
const UNANSWERED_MS = 5_000;
const MAX_REFUSED = 10_000;
/** Names asked for at once. A name more is refused without being asked for: its visitor comes back. */
const MAX_ASKING = 256;
/** After so long a name in use is asked for again, in the background. */
const ASK_AGAIN_MS = 3_600_000;

interface Served {
  /** Monotonic. */
  askedAt: number;
  /** Handshakes wait for a first certificate until then. */
  readonly waitUntil: number;
  readonly waiting: Set<() => void>;
}

export function createOnDemand(options: OnDemandOptions): OnDemand {
  const { config, permission, clock, log, context, notAfter, add, remove } = options;
  const stop = new AbortController();
  /** Until when, in monotonic time. */
  const refused = new LRUCache<string, number>({ max: MAX_REFUSED });
  const isRefused = (name: string): boolean => (refused.get(name) ?? 0) > clock.now();
  const asking = new Map<string, Promise<boolean>>();
  const served = new LRUCache<string, Served>({
    max: config.maxHosts,
    dispose(entry, name, reason) {
      if (reason === "set") return;
      for (const go of entry.waiting) go();
      remove(name);
    },
  });
  const results = options.metrics.counter(
    "skerry_on_demand_total",
    "Names asked for on demand: allowed, refused, failed (nobody could be asked), busy (too many at once).",
    ["result"],
  );
  options.metrics.gauge("skerry_on_demand_hosts", "Hosts that are served on demand.", [], (gauge) =>
    gauge.set(served.size),
  );

  /** The answer to a question; "unknown" where nobody could be asked. */
  const question = async (name: string): Promise<boolean | "unknown"> => {
    try {
      const yes = await permission(name, stop.signal);
      results.inc({ result: yes ? "allowed" : "refused" });
      return yes;
    } catch (thrown) {
      results.inc({ result: "failed" });
      if (!stop.signal.aborted) log.warn("on_demand.unanswered", { host: name, ...errorFields(thrown) });
      return "unknown";
    }
  };

  const admit = async (name: string): Promise<boolean> => {
    const yes = await question(name);
    if (stop.signal.aborted) return false;
    if (yes !== true) {
      refused.set(name, clock.now() + (yes === "unknown" ? UNANSWERED_MS : REFUSED_MS));
      log.debug("on_demand.refused", { host: name });
      return false;
    }
    const now = clock.now();
    served.set(name, { askedAt: now, waitUntil: now + config.handshakeWaitMs, waiting: new Set() });
    log.info("on_demand.allowed", { host: name });
    await add(name);
    return served.has(name);
  };

  const askAgain = async (name: string, entry: Served): Promise<void> => {
    entry.askedAt = clock.now();
    // Where nobody can be asked, what was allowed stays.
    if ((await question(name)) !== false || stop.signal.aborted) return;
    log.info("on_demand.withdrawn", { host: name });
    served.delete(name);
    refused.set(name, clock.now() + REFUSED_MS);
  };

  const permit = (name: string): Promise<boolean> => {
    const entry = served.get(name);
    if (entry) {
      if (clock.now() - entry.askedAt > ASK_AGAIN_MS) void askAgain(name, entry);
      return Promise.resolve(true);
    }
    if (!isHostName(name) || isRefused(name) || stop.signal.aborted) return Promise.resolve(false);
    const known = asking.get(name);
    if (known) return known;
    if (asking.size >= MAX_ASKING) {
      results.inc({ result: "busy" });
      return Promise.resolve(false);
    }
    const asked = admit(name)
      .catch((thrown: unknown) => {
        log.error("on_demand.failed", { host: name, ...errorFields(thrown) });
        served.delete(name);
        return false;
      })
      .finally(() => asking.delete(name));
    asking.set(name, asked);
    return asked;
  };

  const isGood = (name: string): boolean => (notAfter(name) ?? 0) > clock.wall();

  /** Resolves when the certificate is there, or when it was waited for long enough. */
  const wait = (name: string): Promise<void> =>
    new Promise((resolve) => {
      const entry = served.peek(name);
      const left = entry ? entry.waitUntil - clock.now() : 0;
      if (!entry || left <= 0 || isGood(name)) return resolve();
      let timer: Timer | undefined;
      const go = (): void => {
        timer?.cancel();
        entry.waiting.delete(go);
        resolve();
      };
      entry.waiting.add(go);
      timer = clock.after(left, go);
    });

  const slowly = async (name: string): Promise<SecureContext | undefined> => {
    if (!(await permit(name))) return undefined;
    await wait(name);
    return context(name);
  };

  return {
    secureContext(serverName) {
      const name = normal(serverName);
      const entry = served.get(name);
      // Hosts of the config have nothing to do with all this.
      if (!entry) return context(name) ?? slowly(name);
      if (isGood(name) && clock.now() - entry.askedAt <= ASK_AGAIN_MS) return context(name);
      return slowly(name);
    },
    permit: (name) => permit(normal(name)),
    has: (name) => served.has(name),
    mayHave: (name) => served.has(name) || (isHostName(name) && !isRefused(name)),
    arrived(name) {
      for (const go of served.peek(name)?.waiting ?? []) go();
    },
    close() {
      stop.abort(new EdgeError("SHUTTING_DOWN", "certificates on demand are no longer obtained"));
      for (const entry of served.values()) for (const go of entry.waiting) go();
    },
  };
}

function normal(name: string): string {
  const lower = name.toLowerCase();
  return lower.endsWith(".") ? lower.slice(0, -1) : lower;
}

const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

/** Two labels at least, no address, nothing that a public CA would not sign. */
function isHostName(name: string): boolean {
  if (name.length > 253) return false;
  const labels = name.split(".");
  return (
    labels.length >= 2 && labels.every((label) => LABEL.test(label)) && !/^\d+$/.test(labels.at(-1) ?? "")
  );
}
