/** Certificates for every configured host: one keeper each, wired to storage, an issuer and the resolver. */
import type { Clock, Random } from "../clock.ts";
import type { HostConfig } from "../config/config.ts";
import { errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { Storage } from "../storage/storage.ts";
import { keepByAcme } from "./acme-keeper.ts";
import { sweepChallenges } from "./challenge.ts";
import { createDesk } from "./desk.ts";
import { keepFiles } from "./file-keeper.ts";
import type { Issuer } from "./issuer.ts";
import { type CertificateStatus, createMeters, type Keeper } from "./keeper.ts";
import { hostOfKey } from "./keys.ts";
import { createLedger } from "./ledger.ts";
import { createLimiter } from "./limiter.ts";
import type { CaLimits } from "./limits.ts";
import { sweepOrders } from "./pending.ts";
import { createPlaceholder } from "./placeholder.ts";
import { createRenewalOutages } from "./renewal-outages.ts";
import type { Resolver } from "./resolver.ts";
import { createVault } from "./vault.ts";

/** A name, or a host of the config: what else it holds does not matter here. */
export type ManagedHost = string | Pick<HostConfig, "name" | "tls" | "profile" | "keyType">;

export interface CertificateManagerOptions {
  hosts: Iterable<ManagedHost>;
  storage: Storage;
  /** One, or several in the order in which they are asked. Undefined or none: only own certificates, and what storage holds. */
  issuer: Issuer | readonly Issuer[] | undefined;
  /** What a CA allows. @default what is known of Let's Encrypt */
  limits?: (issuer: Issuer) => CaLimits;
  resolver: Resolver;
  clock: Clock;
  random: Random;
  log: Log;
  metrics: Metrics;
  /** Orders at once. @default 4 */
  concurrency?: number;
}

export interface CertificateManager {
  /** Resolves when everything that is stored is served. Orders go on by themselves; failures are logged, never thrown. */
  start(): Promise<void>;
  status(): CertificateStatus[];
  /** New hosts are loaded and obtained, hosts that are gone are no longer served. Resolves as {@link start} does. */
  setHosts(hosts: Iterable<ManagedHost>): Promise<void>;
  /** One host more, by ACME, whatever {@link setHosts} says; resolves when what is stored of it is served. */
  add(host: string): Promise<void>;
  /** Lets go of a host that was added. What is stored stays. */
  remove(host: string): void;
  /** Tries one host at once, whatever earlier failures say; false where it is not configured. */
  retry(host: string): boolean;
  /** Serves what storage holds of a host, where it is newer than what is served. */
  reload(host: string): Promise<void>;
  /** Stops orders and timers; resolves when none runs any more. */
  close(): Promise<void>;
}

interface Kept {
  readonly keeper: Keeper;
  /** Changes where the certificate comes from elsewhere. */
  readonly source: string;
}

export function createCertificateManager(options: CertificateManagerOptions): CertificateManager {
  const { storage, resolver, clock, random, log, metrics, concurrency = 4 } = options;
  const { issuer, limits } = options;
  const issuers = issuer === undefined ? [] : "name" in issuer ? [issuer] : issuer;
  const desk = issuers[0] && createDesk({ issuers, storage, clock, log, ...(limits && { limits }) });
  /** As configured now, by name. */
  let managed = new Map<string, Exclude<ManagedHost, string>>();
  const kept = new Map<string, Kept>();
  /** Those that were added one by one. */
  const extra = new Set<string>();
  const wall = (): number => clock.wall();
  const status = (): CertificateStatus[] => [...kept.values()].map(({ keeper }) => keeper.status());
  const common = { clock, random, log, resolver, meters: createMeters(metrics, clock, status) };
  const acme = {
    ...common,
    storage,
    desk,
    vault: createVault(storage, log, wall),
    ledger: createLedger(storage, desk?.names ?? [], wall),
    limiter: createLimiter(concurrency),
    asking: createLimiter(concurrency),
    outages: createRenewalOutages({ clock, log, metrics }),
    wish: (host: string) => {
      const { profile, keyType } = managed.get(host) ?? {};
      return { profile, keyType };
    },
  };
  const stop = new AbortController();
  // Where storage tells of changes, a peer's certificate is served at once; elsewhere keepers look from time to time.
  const unwatch = storage.watch?.("certificates/", (key) => void kept.get(hostOfKey(key))?.keeper.load());
  let placeholder: Promise<void> | undefined;
  let preparing: Promise<void> | undefined;
  let closing: Promise<void> | undefined;

  const ensurePlaceholder = async (): Promise<void> => {
    if (resolver.placeholderContext()) return;
    placeholder ??= createPlaceholder(clock).then(
      (pair) => resolver.setPlaceholder(pair),
      (thrown: unknown) => {
        placeholder = undefined;
        log.error("certificate.placeholder_failed", errorFields(thrown));
      },
    );
    await placeholder;
  };

  /** Every edge learns the account early: it may be asked to answer for an order that a peer began. */
  const prepare = (): void => {
    if (!desk) return;
    preparing ??= (async () => {
      try {
        await sweepChallenges(storage, wall());
        await sweepOrders(storage, acme.vault, acme.ledger);
      } catch (thrown) {
        // What stays is looked over at the next start.
        if (!stop.signal.aborted) log.warn("certificate.prepare_failed", errorFields(thrown));
      }
      // The desk says what is wrong; the first order will try again and report it as its own failure.
      await desk.prepare(stop.signal).catch(() => {
        preparing = undefined;
      });
    })();
  };

  const setHosts = async (hosts: Iterable<ManagedHost>): Promise<void> => {
    const wanted = new Map([...extra, ...hosts].map(hostOf).map((host) => [host.name, host]));
    managed = wanted;
    const gone: Promise<void>[] = [];
    for (const [name, { keeper, source }] of kept) {
      const host = wanted.get(name);
      if (host && sourceOf(host) === source) continue;
      kept.delete(name);
      gone.push(keeper.close());
      if (host) resolver.restart(name);
    }
    resolver.configure(wanted.keys());
    const added: Keeper[] = [];
    for (const [name, host] of wanted) {
      if (kept.has(name)) continue;
      const keeper = host.tls ? keepFiles(name, host.tls, common) : keepByAcme(name, acme);
      kept.set(name, { keeper, source: sourceOf(host) });
      added.push(keeper);
    }
    const made = ensurePlaceholder();
    await Promise.all(gone);
    await loadAll(added, stop.signal);
    if (added.some((keeper) => keeper.status().state === "missing")) await made;
    if ([...wanted.values()].some((host) => !host.tls)) prepare();
    // A later call may have dropped some of them while they loaded.
    const current = new Set([...kept.values()].map(({ keeper }) => keeper));
    for (const keeper of added) if (current.has(keeper) && !closing) keeper.begin();
  };

  return {
    start: () => setHosts(options.hosts),
    status,
    setHosts,
    async add(host) {
      extra.add(host);
      if (kept.has(host) || closing) return;
      resolver.add(host);
      const keeper = keepByAcme(host, acme);
      const entry = { keeper, source: "acme" };
      kept.set(host, entry);
      await keeper.load();
      if (kept.get(host) === entry && !closing) keeper.begin();
    },
    remove(host) {
      if (!extra.delete(host) || managed.has(host)) return;
      const found = kept.get(host);
      kept.delete(host);
      resolver.remove(host);
      found?.keeper.close().catch((thrown: unknown) => {
        log.warn("certificate.close_failed", { host, ...errorFields(thrown) });
      });
    },
    async reload(host) {
      await kept.get(host)?.keeper.load();
    },
    retry(host) {
      const found = kept.get(host);
      found?.keeper.retry();
      return found !== undefined;
    },
    close() {
      closing ??= (async () => {
        stop.abort();
        unwatch?.();
        await Promise.all([...kept.values()].map(({ keeper }) => keeper.close()));
        await preparing;
        await placeholder;
      })();
      return closing;
    },
  };
}

/** Files read at once. */
const LOADERS = 16;

/** A few loaders that take turns: ten thousand places in a line, each with its ear on one signal, would take seconds. */
async function loadAll(keepers: readonly Keeper[], signal: AbortSignal): Promise<void> {
  const left = keepers.values();
  const load = async (): Promise<void> => {
    for (const keeper of left) {
      if (signal.aborted) throw signal.reason;
      await keeper.load();
    }
  };
  await Promise.all(Array.from({ length: LOADERS }, load));
}

function hostOf(host: ManagedHost): Exclude<ManagedHost, string> {
  return typeof host === "string" ? { name: host, tls: undefined } : host;
}

function sourceOf({ tls }: Pick<HostConfig, "name" | "tls">): string {
  return tls ? `file:${tls.certPath}\n${tls.keyPath}` : "acme";
}
