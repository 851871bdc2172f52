/** Keeps one host's certificate fresh: loads it, obtains it, renews it, and when that fails goes on with what it has. */
import type { Timer } from "../clock.ts";
import type { KeyType } from "../config/config.ts";
import { EdgeError, errorFields, messageOf } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { backoff, backoffAfterCrash, failureKind } from "./backoff.ts";
import { type Limit, LimitReached } from "./books.ts";
import { type Bundle, bundleOf } from "./bundle.ts";
import type { Desk, Placed } from "./desk.ts";
import type { OrderWish } from "./issuer.ts";
import {
  type AttemptReason,
  type CertificateFailure,
  certificateState,
  createExpiryAlarm,
  isEmergency,
  iso,
  type Keeper,
  type KeeperParts,
  lifetimeLeft,
} from "./keeper.ts";
import { hostKey } from "./keys.ts";
import { type Ledger, type LedgerEntry, reasonOf } from "./ledger.ts";
import { withLockLending } from "./lending.ts";
import type { Limiter, Place } from "./limiter.ts";
import { problemOf } from "./problem.ts";
import { createRenewal } from "./renewal.ts";
import type { RenewalOutages } from "./renewal-outages.ts";
import type { Vault } from "./vault.ts";

export interface AcmeKeeperParts extends KeeperParts {
  storage: Storage;
  vault: Vault;
  ledger: Ledger;
  /** Undefined where no CA is configured: what is stored is served, and nothing is ordered. */
  desk: Desk | undefined;
  /** Orders at once. */
  limiter: Limiter;
  /** Questions about renewal at once. */
  asking: Limiter;
  outages: RenewalOutages;
  /** What this host's certificate ought to be like, as configured now. */
  wish(host: string): { readonly profile?: string | undefined; readonly keyType?: KeyType | undefined };
}

/** The longest that a keeper sleeps: then it looks for a peer's certificate, and for a clock that was set anew. */
const LONGEST_SLEEP_MS = 3_600_000;
/** A CA's clock is read from its Date header, which has whole seconds. */
const DATE_STEP_MS = 1000;

export function keepByAcme(host: string, parts: AcmeKeeperParts): Keeper {
  const { clock, random, log, meters, resolver, storage, vault, ledger, desk, limiter } = parts;
  const alarm = createExpiryAlarm(host, parts);
  const stop = new AbortController();
  let bundle: Bundle | undefined;
  /** Newer than what is served, but its validity has yet to begin. */
  let held: Bundle | undefined;
  let begun = false;
  /** Obtained and served, but not stored yet. */
  let unsaved: { readonly made: Bundle; readonly placed: Placed } | undefined;
  let failure: CertificateFailure | undefined;
  let limit: Limit | undefined;
  /** Set after a failure, or by a limit. */
  let blockedUntil: number | undefined;
  /** In a row: those that the CA counts, and those that it does not. */
  let spentFailures = 0;
  let freeFailures = 0;
  /** Whether the ledger may hold an entry of ours. */
  let recorded = false;
  let timer: Timer | undefined;
  let running: Promise<void> | undefined;
  let forced = false;

  const renewal = createRenewal(host, {
    ...parts,
    issuers: desk?.names ?? [],
    ask: async ({ issuer }, ariId) =>
      parts.asking.run(async () => desk?.renewalInfo(issuer, ariId, stop.signal), stop.signal),
  });
  const isDue = (): boolean => clock.wall() >= renewal.at();
  /** The time by the CA's clock, where ours is known to be wrong. */
  const trueTime = (): number => clock.wall() + (desk?.skewMs() ?? 0);

  const adopt = (
    offered: Bundle,
    event: "certificate.loaded" | "certificate.obtained" | "certificate.renewed",
  ): boolean => {
    if (offered !== held && offered.generation <= ((held ?? bundle)?.generation ?? -1)) return false;
    // One that works is not given up for one that does not yet.
    if (bundle && trueTime() < bundle.notAfter && trueTime() + DATE_STEP_MS < offered.notBefore) {
      log.warn("certificate.held", {
        host,
        generation: offered.generation,
        notBefore: iso(offered.notBefore),
      });
      held = offered;
      return false;
    }
    held = undefined;
    let next = offered;
    if (!resolver.set(host, next)) {
      // It serves this one or a newer one already: a manager before this one gave it.
      const served = resolver.bundle(host);
      if (!served || served.generation < next.generation) return false;
      next = served;
    }
    bundle = next;
    renewal.use(next, event !== "certificate.loaded");
    const { generation, names, notBefore, notAfter } = next;
    log.info(event, {
      host,
      generation,
      names,
      issuer: next.issuer,
      ...(next.profile !== undefined && { profile: next.profile }),
      notBefore: iso(notBefore),
      notAfter: iso(notAfter),
    });
    return true;
  };

  /** What storage holds, if it is newer than what is served: a peer's, or that of an earlier run. */
  const look = async (): Promise<void> => {
    if (held && trueTime() + DATE_STEP_MS >= held.notBefore) adopt(held, "certificate.renewed");
    const stored = await vault.load(host);
    if (stored) adopt(stored, "certificate.loaded");
  };

  const succeed = async (): Promise<void> => {
    const written = recorded || failure !== undefined;
    recorded = false;
    failure = undefined;
    limit = undefined;
    blockedUntil = undefined;
    spentFailures = 0;
    freeFailures = 0;
    if (!written) return;
    await ledger.clear(host).catch((thrown: unknown) => {
      // A left-over entry is in the past and delays nothing.
      log.warn("certificate.ledger_failed", { host, ...errorFields(thrown) });
    });
  };

  const save = async (made: Bundle, placed: Placed): Promise<void> => {
    unsaved = { made, placed };
    await vault.store(made);
    unsaved = undefined;
    await placed.settle?.().catch((thrown: unknown) => {
      // The next order finds it finished and gets this certificate again, or the CA has forgotten it.
      log.warn("certificate.order_left", { host, ...errorFields(thrown) });
    });
  };

  /** Says once for each limit until when it stands in the way. */
  const waitFor = (reached: Limit): void => {
    const { issuer, scope, of, why } = reached;
    // Everybody whom it covers waits for the same moment.
    if (limit?.until !== reached.until || limit.scope !== scope) {
      blockedUntil = reached.until + (reached.until - clock.wall()) * 0.02 * random();
      log.warn("certificate.limited", { host, issuer, scope, of, why, until: iso(reached.until) });
    }
    limit = reached;
  };

  /**
   * Writes down that an order begins, so that a process that dies with it does not order again at every start. It is the
   * proof, too, that storage can be written: a certificate that cannot be kept would be ordered after every restart.
   */
  const orderOnRecord = async (
    by: Desk,
    wish: OrderWish,
    former: LedgerEntry | undefined,
    signal: AbortSignal,
  ): Promise<Placed> => {
    const failures = spentFailures + 1;
    const failedAt = clock.wall();
    const nextAttemptAt = failedAt + backoffAfterCrash(failures, random);
    const message = "an order ended without a result: the process that made it was stopped";
    const [issuer = ""] = by.names;
    recorded = true;
    await ledger.write(host, { issuer, failures, reason: "INTERRUPTED", message, failedAt, nextAttemptAt });
    try {
      return await by.order(host, bundle, wish, signal);
    } catch (thrown) {
      // Refusals are written by `fail`. Where nothing was spent, or we stop in good order, it is as before.
      if (signal.aborted || failureKind(thrown) === "free") {
        await (former ? ledger.write(host, former) : ledger.clear(host));
      }
      throw thrown;
    }
  };

  const order = async (by: Desk, ignoreLedger: boolean, place: Place): Promise<void> => {
    // Before the lock, so that every edge knows the account by the time that one of them is validated.
    await by.prepare(stop.signal);
    await withLockLending(
      { storage, clock, place },
      hostKey("issue", host),
      async (locked) => {
        await look();
        if (unsaved && unsaved.made.generation === (held ?? bundle)?.generation)
          return save(unsaved.made, unsaved.placed);
        unsaved = undefined;
        if (held || (bundle && !isDue())) return;
        const entry = ignoreLedger ? undefined : await ledger.read(host);
        if (entry) {
          const { failures, reason, message, failedAt, nextAttemptAt } = entry;
          spentFailures = failures;
          failure = { reason, message, at: failedAt, failures };
          blockedUntil = nextAttemptAt;
          if (nextAttemptAt > clock.wall()) return;
        }
        const wish: OrderWish = {
          ...parts.wish(host),
          replaces: renewal.replaces(),
          keyInUse: bundle?.key,
          // Near its end any certificate is better than the one that was wished for.
          profileOptional: isEmergency(bundle, clock.wall()),
        };
        const inTheWay = await by.blocked(host, bundle, wish);
        if (inTheWay) return waitFor(inTheWay);
        await place.back(stop.signal);
        const began = clock.now();
        const placed = await orderOnRecord(by, wish, entry, AbortSignal.any([stop.signal, locked]));
        const made = bundleFrom(placed);
        const event = bundle ? "renewed" : "obtained";
        try {
          await save(made, placed);
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

  const bundleFrom = ({ key, chain, ariId, profile, issuer }: Placed): Bundle =>
    bundleOf(
      { key, chain },
      {
        host,
        issuer,
        generation: (bundle?.generation ?? 0) + 1,
        obtainedAt: clock.wall(),
        ...(ariId !== undefined && { ariId }),
        ...(profile !== undefined && { profile }),
      },
      `${host}: the certificate from ${issuer}`,
    );

  const fail = async (thrown: unknown): Promise<void> => {
    if (thrown instanceof EdgeError && thrown.cause instanceof LimitReached)
      return waitFor(thrown.cause.limit);
    const kind = failureKind(thrown);
    const failures = kind === "spent" ? ++spentFailures : ++freeFailures;
    const lifetimeMs = bundle && bundle.notAfter - bundle.notBefore;
    const wait = backoff({ kind, failures, thrown, lifetimeMs, random });
    const at = clock.wall();
    const reason = reasonOf(thrown);
    const message = messageOf(thrown);
    const problem = problemOf(thrown);
    blockedUntil = at + wait;
    const told = problem && { type: problem.type, status: problem.status, subproblems: problem.subproblems };
    failure = { reason, message, at, failures, ...(told && { problem: told }) };
    meters.renewed("failed");
    meters.failed(reason);
    const nextAttempt = iso(blockedUntil);
    log.error("certificate.failed", { host, reason, failures, nextAttempt, ...errorFields(thrown) });
    if (kind === "free" || !desk) return;
    const [issuer = ""] = desk.names;
    const entry = { issuer, failures, reason, message, failedAt: at, nextAttemptAt: blockedUntil };
    await ledger.write(host, entry).catch((failed: unknown) => {
      // Without it only a restart or a peer may try earlier; this keeper knows by itself.
      log.warn("certificate.ledger_failed", { host, ...errorFields(failed) });
    });
    if (problem?.type !== "rateLimited") return;
    // Which limit it was, for those who look; the wait is set already.
    limit = await desk.blocked(host, bundle, { replaces: renewal.replaces() }).catch(() => undefined);
  };

  const work = async (): Promise<void> => {
    const force = forced;
    forced = false;
    try {
      await look();
      if (!desk) return;
      await renewal.check(stop.signal);
      if (bundle && (!isDue() || held) && !unsaved && !force) return await succeed();
      if (!force && blockedUntil !== undefined && clock.wall() < blockedUntil) return;
      if (force) renewal.hasten();
      const before = bundle?.generation;
      // A host that shows a placeholder comes before any that is only to be renewed.
      await limiter.run((place) => order(desk, force, place), stop.signal, bundle === undefined);
      if (bundle && (bundle.generation !== before || held || !isDue()) && !unsaved) {
        // Who asked for one while it was on its way has it now; another order would be one too many.
        if (bundle.generation !== before) forced = false;
        await succeed();
        return await renewal.check(stop.signal);
      }
      if (blockedUntil !== undefined && clock.wall() < blockedUntil) return;
      throw new EdgeError("INTERNAL", `${host}: the certificate that was obtained is not served`);
    } catch (thrown) {
      if (!stop.signal.aborted) await fail(thrown);
    } finally {
      alarm(bundle);
    }
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

  const next = (): { at: number; why: AttemptReason } | undefined => {
    if (!desk) return undefined;
    if (unsaved) return { at: blockedUntil ?? 0, why: "store" };
    if (held) return { at: held.notBefore - (trueTime() - clock.wall()), why: "held" };
    const due = renewal.at();
    const blocked = blockedUntil ?? 0;
    if (blocked > due) return { at: blocked, why: limit && limit.until <= blocked ? "limit" : "retry" };
    return { at: due, why: bundle ? "renewal" : "first" };
  };

  const sleepUntilNext = (): void => {
    if (stop.signal.aborted) return;
    const wakeAt = Math.min(
      next()?.at ?? Number.POSITIVE_INFINITY,
      desk ? renewal.checkAt() : Number.POSITIVE_INFINITY,
    );
    // Parted, or all hosts of a start would look at storage in one moment of every hour.
    const longest = LONGEST_SLEEP_MS * (0.75 + random() / 4);
    timer = clock.after(Math.min(Math.max(wakeAt - clock.wall(), 0), longest), wake);
  };

  return {
    async load() {
      try {
        await look();
      } catch (thrown) {
        await fail(thrown);
      }
      // What is held may begin before anything else is due; `work` sees to it by itself.
      if (!held || !begun || running) return;
      timer?.cancel();
      sleepUntilNext();
    },
    begin() {
      begun = true;
      if (!desk && !bundle) {
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
    status() {
      const wall = clock.wall();
      const coming = next();
      return {
        host,
        source: "acme",
        state: certificateState(bundle, wall),
        generation: bundle?.generation,
        names: bundle?.names ?? [],
        issuer: bundle?.issuer,
        profile: bundle?.profile,
        notBefore: bundle?.notBefore,
        notAfter: bundle?.notAfter,
        lifetimeLeft: lifetimeLeft(bundle?.notBefore, bundle?.notAfter, wall),
        emergency: isEmergency(bundle, wall),
        renewal: desk && renewal.plan(),
        nextAttemptAt: coming?.at,
        nextAttemptFor: coming?.why,
        limit: limit && limit.until > wall ? limit : undefined,
        failure,
      };
    },
    async close() {
      timer?.cancel();
      stop.abort(new EdgeError("SHUTTING_DOWN", `${host}: certificates are no longer kept`));
      await running;
    },
  };
}
