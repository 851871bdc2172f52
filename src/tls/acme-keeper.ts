/** Keeps one host's certificate fresh: loads it, obtains it, renews it, and when that fails goes on with what it has. */
import type { Timer } from "../clock.ts";
import { EdgeError, errorFields, messageOf } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { backoff, backoffAfterCrash, failureKind } from "./backoff.ts";
import { type Bundle, bundleOf } from "./bundle.ts";
import { renewalTime } from "./certificate.ts";
import type { IssuedCertificate, Issuer } from "./issuer.ts";
import {
  type CertificateFailure,
  certificateState,
  createExpiryAlarm,
  iso,
  type Keeper,
  type KeeperParts,
} from "./keeper.ts";
import { type Ledger, type LedgerEntry, reasonOf } from "./ledger.ts";
import type { Limiter } from "./limiter.ts";
import type { Vault } from "./vault.ts";

export interface AcmeKeeperParts extends KeeperParts {
  storage: Storage;
  vault: Vault;
  ledger: Ledger;
  /** Undefined where none is configured: what is stored is served, and nothing is ordered. */
  issuer: Issuer | undefined;
  limiter: Limiter;
}

/** The longest that a keeper sleeps: then it looks for a peer's certificate, and for a clock that was set anew. */
const LONGEST_SLEEP_MS = 3_600_000;

export function keepByAcme(host: string, parts: AcmeKeeperParts): Keeper {
  const { clock, random, log, meters, resolver, storage, vault, ledger, issuer, limiter } = parts;
  const alarm = createExpiryAlarm(host, parts);
  const stop = new AbortController();
  let bundle: Bundle | undefined;
  /** Obtained and served, but not stored yet. */
  let unsaved: Bundle | undefined;
  let renewAt = 0;
  let failure: CertificateFailure | undefined;
  /** Set after a failure. */
  let blockedUntil: number | undefined;
  /** In a row: those that the CA counts, and those that it does not. */
  let spentFailures = 0;
  let freeFailures = 0;
  /** Whether the ledger may hold an entry of ours. */
  let recorded = false;
  let timer: Timer | undefined;
  let running: Promise<void> | undefined;
  let forced = false;

  const isDue = (): boolean => clock.wall() >= renewAt;
  const lifetimeOf = ({ notBefore, notAfter }: Bundle): number => notAfter - notBefore;

  const adopt = (
    offered: Bundle,
    event: "certificate.loaded" | "certificate.obtained" | "certificate.renewed",
  ): boolean => {
    if (bundle && offered.generation <= bundle.generation) return false;
    let next = offered;
    if (!resolver.set(host, next)) {
      // It serves this one or a newer one already: a manager before this one gave it.
      const served = resolver.bundle(host);
      if (!served || served.generation < next.generation) return false;
      next = served;
    }
    bundle = next;
    // A certificate that is due as soon as it comes (a clock gone wrong) must not cause a storm of orders.
    const earliest = next.obtainedAt + Math.max(1000, lifetimeOf(next) / 20);
    // One from another CA is served until the configured one has issued.
    renewAt = next.issuer === issuer?.name ? Math.max(renewalTime(next, random), earliest) : 0;
    const { generation, names, notBefore, notAfter } = next;
    log.info(event, {
      host,
      generation,
      names,
      issuer: next.issuer,
      notBefore: iso(notBefore),
      notAfter: iso(notAfter),
    });
    return true;
  };

  /** What storage holds, if it is newer than what is served: a peer's, or that of an earlier run. */
  const look = async (): Promise<void> => {
    const stored = await vault.load(host);
    if (stored) adopt(stored, "certificate.loaded");
  };

  const succeed = async (): Promise<void> => {
    const written = recorded || failure !== undefined;
    recorded = false;
    failure = undefined;
    blockedUntil = undefined;
    spentFailures = 0;
    freeFailures = 0;
    if (!written) return;
    await ledger.clear(host).catch((thrown: unknown) => {
      // A left-over entry is in the past and delays nothing.
      log.warn("certificate.ledger_failed", { host, ...errorFields(thrown) });
    });
  };

  const save = async (made: Bundle): Promise<void> => {
    unsaved = made;
    await vault.store(made);
    unsaved = undefined;
  };

  /**
   * Writes down that an order begins, so that a process that dies with it does not order again at every start. It is the
   * proof, too, that storage can be written: a certificate that cannot be kept would be ordered after every restart.
   */
  const issueOnRecord = async (
    by: Issuer,
    former: LedgerEntry | undefined,
    signal: AbortSignal,
  ): Promise<IssuedCertificate> => {
    const failures = spentFailures + 1;
    const failedAt = clock.wall();
    const nextAttemptAt = failedAt + backoffAfterCrash(failures, random);
    const message = "an order ended without a result: the process that made it was stopped";
    recorded = true;
    await ledger.write(host, {
      issuer: by.name,
      failures,
      reason: "INTERRUPTED",
      message,
      failedAt,
      nextAttemptAt,
    });
    try {
      return await by.issue(host, signal);
    } catch (thrown) {
      // Refusals are written by `fail`. Where nothing was spent, or we stop in good order, it is as before.
      if (signal.aborted || failureKind(thrown) === "free") {
        await (former ? ledger.write(host, former) : ledger.clear(host));
      }
      throw thrown;
    }
  };

  const order = async (by: Issuer, ignoreLedger: boolean): Promise<void> => {
    // Before the lock, so that every edge knows the account by the time that one of them is validated.
    await by.prepare?.(stop.signal);
    await storage.withLock(
      `issue/${host}`,
      async (held) => {
        await look();
        if (unsaved && unsaved.generation === bundle?.generation) return save(unsaved);
        unsaved = undefined;
        if (bundle && !isDue()) return;
        const entry = ignoreLedger ? undefined : await ledger.read(host);
        if (entry) {
          const { failures, reason, message, failedAt, nextAttemptAt } = entry;
          spentFailures = failures;
          failure = { reason, message, at: failedAt, failures };
          blockedUntil = nextAttemptAt;
          if (nextAttemptAt > clock.wall()) return;
        }
        const began = clock.now();
        const issued = await issueOnRecord(by, entry, AbortSignal.any([stop.signal, held]));
        const made = bundleFrom(issued, by.name);
        const event = bundle ? "renewed" : "obtained";
        try {
          await save(made);
        } finally {
          // Visitors get it even where the disk does not take it; storing is tried again.
          const served = adopt(made, `certificate.${event}`);
          meters.renewed(event);
          log.debug("certificate.took", { host, served, tookMs: Math.round(clock.now() - began) });
        }
      },
      stop.signal,
    );
  };

  const bundleFrom = ({ key, chain, ariId }: IssuedCertificate, issuerName: string): Bundle =>
    bundleOf(
      { key, chain },
      {
        host,
        issuer: issuerName,
        generation: (bundle?.generation ?? 0) + 1,
        obtainedAt: clock.wall(),
        ...(ariId !== undefined && { ariId }),
      },
      `${host}: the certificate from ${issuerName}`,
    );

  const fail = async (thrown: unknown): Promise<void> => {
    const kind = failureKind(thrown);
    const failures = kind === "spent" ? ++spentFailures : ++freeFailures;
    const lifetimeMs = bundle && lifetimeOf(bundle);
    const wait = backoff({ kind, failures, thrown, lifetimeMs, random });
    const at = clock.wall();
    const reason = reasonOf(thrown);
    const message = messageOf(thrown);
    blockedUntil = at + wait;
    failure = { reason, message, at, failures };
    meters.renewed("failed");
    meters.failed(reason);
    const nextAttempt = iso(blockedUntil);
    log.error("certificate.failed", { host, reason, failures, nextAttempt, ...errorFields(thrown) });
    if (kind === "free" || !issuer) return;
    const entry = {
      issuer: issuer.name,
      failures,
      reason,
      message,
      failedAt: at,
      nextAttemptAt: blockedUntil,
    };
    await ledger.write(host, entry).catch((failed: unknown) => {
      // Without it only a restart or a peer may try earlier; this keeper knows by itself.
      log.warn("certificate.ledger_failed", { host, ...errorFields(failed) });
    });
  };

  const work = async (): Promise<void> => {
    const force = forced;
    forced = false;
    try {
      await look();
      if (!issuer) return;
      if (bundle && !isDue() && !unsaved && !force) return await succeed();
      if (!force && blockedUntil !== undefined && clock.wall() < blockedUntil) return;
      if (force) renewAt = 0;
      const before = bundle?.generation;
      await limiter.run(() => order(issuer, force), stop.signal);
      if (bundle && (bundle.generation !== before || !isDue()) && !unsaved) return await succeed();
      if (blockedUntil !== undefined && clock.wall() < blockedUntil) return;
      throw new EdgeError("INTERNAL", `${host}: the certificate that was obtained is not served`);
    } catch (thrown) {
      if (!stop.signal.aborted) await fail(thrown);
    }
    alarm(bundle);
  };

  const wake = (): void => {
    timer?.cancel();
    if (running || stop.signal.aborted) return;
    running = work().finally(() => {
      running = undefined;
      if (forced) wake();
      else sleepUntilNext();
    });
  };

  const nextAt = (): number | undefined => {
    if (!issuer) return undefined;
    return Math.max(unsaved ? 0 : renewAt, blockedUntil ?? 0);
  };

  const sleepUntilNext = (): void => {
    if (stop.signal.aborted) return;
    const delay = (nextAt() ?? Number.POSITIVE_INFINITY) - clock.wall();
    timer = clock.after(Math.min(Math.max(delay, 0), LONGEST_SLEEP_MS), wake);
  };

  return {
    async load() {
      try {
        await look();
      } catch (thrown) {
        await fail(thrown);
      }
    },
    begin() {
      if (!issuer && !bundle) {
        log.error("certificate.failed", {
          host,
          reason: "CONFIG_INVALID",
          message: "no certificate is stored and no acme is configured",
        });
      }
      sleepUntilNext();
    },
    retry() {
      forced = true;
      wake();
    },
    status: () => ({
      host,
      source: "acme",
      state: certificateState(bundle, clock.wall()),
      generation: bundle?.generation,
      names: bundle?.names ?? [],
      issuer: bundle?.issuer,
      notBefore: bundle?.notBefore,
      notAfter: bundle?.notAfter,
      nextAttemptAt: nextAt(),
      failure,
    }),
    async close() {
      timer?.cancel();
      stop.abort(new EdgeError("SHUTTING_DOWN", `${host}: certificates are no longer kept`));
      await running;
    },
  };
}
