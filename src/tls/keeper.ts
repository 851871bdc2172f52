/** What the keepers of hosts have in common: their parts, their status, and how they say what happened. */
import type { Clock, Random } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { emergencyStart } from "./ari.ts";
import type { Limit } from "./books.ts";
import type { Bundle } from "./bundle.ts";
import { renewalStart } from "./certificate.ts";
import type { RenewalPlan } from "./renewal.ts";
import type { Resolver } from "./resolver.ts";

export interface CertificateFailure {
  /** The CA's problem type, or an error code. */
  readonly reason: string;
  readonly message: string;
  /** Wall time in milliseconds. */
  readonly at: number;
  /** In a row. */
  readonly failures: number;
  /** The CA's problem document, where there is one. */
  readonly problem?: {
    readonly type: string;
    readonly status: number;
    readonly subproblems: readonly string[];
  };
}

/** `first`: there is none yet; `renewal`: by plan; `retry`: after a failure; `limit`: a CA's limit is in the way; `held`: its validity has yet to begin. */
export type AttemptReason = "first" | "renewal" | "retry" | "limit" | "store" | "held";

export interface CertificateStatus {
  readonly host: string;
  readonly source: "acme" | "file";
  /** `missing`: a placeholder is served; `expiring`: renewal is overdue. */
  readonly state: "valid" | "expiring" | "expired" | "missing";
  readonly generation: number | undefined;
  readonly names: readonly string[];
  readonly issuer: string | undefined;
  /** Wall times in milliseconds. */
  readonly notBefore: number | undefined;
  readonly notAfter: number | undefined;
  /** When it will be renewed, or tried again after a failure. */
  readonly nextAttemptAt: number | undefined;
  readonly failure: CertificateFailure | undefined;
  /** Why then. */
  readonly nextAttemptFor?: AttemptReason | undefined;
  readonly profile?: string | undefined;
  /** From 1, just begun, to 0, expired. */
  readonly lifetimeLeft?: number | undefined;
  /** Less than a twentieth of its life is left, or none. */
  readonly emergency?: boolean;
  /** When it is to be renewed, and by whose word. */
  readonly renewal?: RenewalPlan | undefined;
  /** The CA's limit that is in the way of an order. */
  readonly limit?: Limit | undefined;
}

/** One host's certificate, from start to close. */
export interface Keeper {
  /** Serves what there is. Never rejects. */
  load(): Promise<void>;
  /** Begins to obtain and to renew. */
  begin(): void;
  /** Tries at once, whatever earlier failures say. */
  retry(): void;
  status(): CertificateStatus;
  close(): Promise<void>;
}

export interface KeeperParts {
  clock: Clock;
  random: Random;
  log: Log;
  meters: Meters;
  resolver: Resolver;
}

export interface Meters {
  renewed(result: "obtained" | "renewed" | "failed"): void;
  failed(reason: string): void;
}

/** Metrics of all certificates; `statuses` is asked when they are read. */
export function createMeters(metrics: Metrics, clock: Clock, statuses: () => CertificateStatus[]): Meters {
  metrics.gauge(
    "skerry_certificate_expires_seconds",
    "Time until the certificate in use expires; negative when it has.",
    ["host"],
    (gauge) => {
      gauge.reset();
      for (const { host, notAfter } of statuses()) {
        if (notAfter !== undefined) gauge.set({ host }, (notAfter - clock.wall()) / 1000);
      }
    },
  );
  metrics.gauge(
    "skerry_certificate_lifetime_left_ratio",
    "Part of the certificate's lifetime that is left, from 1 to 0.",
    ["host"],
    (gauge) => {
      gauge.reset();
      for (const { host, notBefore, notAfter } of statuses()) {
        const left = lifetimeLeft(notBefore, notAfter, clock.wall());
        if (left !== undefined) gauge.set({ host }, left);
      }
    },
  );
  metrics.gauge(
    "skerry_certificate_hosts",
    "Hosts by what their certificate is like; `emergency` are those with less than a twentieth of its life left.",
    ["state"],
    (gauge) => {
      const counts = { valid: 0, expiring: 0, expired: 0, missing: 0, emergency: 0 };
      for (const { state, emergency } of statuses()) {
        counts[state]++;
        if (emergency) counts.emergency++;
      }
      for (const [state, count] of Object.entries(counts)) gauge.set({ state }, count);
    },
  );
  const renewals = metrics.counter(
    "skerry_certificate_renewals_total",
    "Attempts to obtain or renew a certificate.",
    ["result"],
  );
  const failures = metrics.counter(
    "skerry_certificate_renewal_failures_total",
    "Failed attempts by reason: the CA's problem type, or an error code.",
    ["reason"],
  );
  return {
    renewed: (result) => renewals.inc({ result }),
    failed: (reason) => failures.inc({ reason }),
  };
}

export function certificateState(bundle: Bundle | undefined, wall: number): CertificateStatus["state"] {
  if (!bundle) return "missing";
  if (wall >= bundle.notAfter) return "expired";
  // Half of the time for renewal has gone by: somebody should look.
  return wall >= (renewalStart(bundle) + bundle.notAfter) / 2 ? "expiring" : "valid";
}

/** From 1 to 0; undefined where there is no certificate. */
export function lifetimeLeft(
  notBefore: number | undefined,
  notAfter: number | undefined,
  wall: number,
): number | undefined {
  if (notBefore === undefined || notAfter === undefined) return undefined;
  return Math.min(Math.max((notAfter - wall) / (notAfter - notBefore), 0), 1);
}

/** Whether somebody must act: so little is left that renewing has failed for long. */
export function isEmergency(bundle: Bundle | undefined, wall: number): boolean {
  return bundle !== undefined && wall >= emergencyStart(bundle);
}

const DAY_MS = 86_400_000;

/** Logs `certificate.expiring` for a certificate whose renewal is overdue: once a day, or oftener where it lives shortly. */
export function createExpiryAlarm(
  host: string,
  { clock, log }: KeeperParts,
): (bundle: Bundle | undefined) => void {
  let saidAt = Number.NEGATIVE_INFINITY;
  let saidUrgent = false;
  return (bundle) => {
    const state = certificateState(bundle, clock.wall());
    if (!bundle || state === "valid") {
      saidUrgent = false;
      return;
    }
    const { issuer, notBefore, notAfter } = bundle;
    const urgent = isEmergency(bundle, clock.wall());
    const soon = clock.now() - saidAt < Math.min(DAY_MS, (notAfter - notBefore) / 20);
    if (soon && urgent === saidUrgent) return;
    saidAt = clock.now();
    saidUrgent = urgent;
    const left = lifetimeLeft(notBefore, notAfter, clock.wall()) ?? 0;
    log[urgent ? "error" : "warn"]("certificate.expiring", {
      host,
      state,
      issuer,
      notAfter: iso(notAfter),
      lifetimeLeft: Math.round(left * 1000) / 1000,
    });
  };
}

/** Dates for people, in logs. */
export const iso = (wall: number): string => new Date(wall).toISOString();
