/** What the keepers of hosts have in common: their parts, their status, and how they say what happened. */
import type { Clock, Random } from "../clock.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { Bundle } from "./bundle.ts";
import { renewalStart } from "./certificate.ts";
import type { Resolver } from "./resolver.ts";

export interface CertificateFailure {
  /** The CA's problem type, or an error code. */
  readonly reason: string;
  readonly message: string;
  /** Wall time in milliseconds. */
  readonly at: number;
  /** In a row. */
  readonly failures: number;
}

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

const DAY_MS = 86_400_000;

/** Logs `certificate.expiring` for a certificate whose renewal is overdue: once a day, or oftener where it lives shortly. */
export function createExpiryAlarm(
  host: string,
  { clock, log }: KeeperParts,
): (bundle: Bundle | undefined) => void {
  let saidAt = Number.NEGATIVE_INFINITY;
  return (bundle) => {
    const state = certificateState(bundle, clock.wall());
    if (!bundle || state === "valid") return;
    const { issuer, notBefore, notAfter } = bundle;
    if (clock.now() - saidAt < Math.min(DAY_MS, (notAfter - notBefore) / 20)) return;
    saidAt = clock.now();
    log.warn("certificate.expiring", { host, state, issuer, notAfter: iso(notAfter) });
  };
}

/** Dates for people, in logs. */
export const iso = (wall: number): string => new Date(wall).toISOString();
