/** CAs that give no renewal information: said once for each outage, not once for each of ten thousand hosts. */
import type { Clock } from "../clock.ts";
import { errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { isTransient } from "./issuer.ts";

export interface RenewalOutages {
  /** The CA answered for some host. */
  answered(issuer: string): void;
  /** It did not, or not well; `again` is the wall time when this host asks once more. */
  failed(issuer: string, host: string, thrown: unknown, again: number): void;
}

interface Outage {
  /** Since the CA last answered. */
  failures: number;
  readonly hosts: Set<string>;
  /** Whether this outage is in the log. */
  said: boolean;
  saidAt: number;
}

/** A CA that answers every other time is not worth a line each time, and one that is away for long is worth another. */
const SAY_AGAIN_MS = 3_600_000;

export function createRenewalOutages(parts: { clock: Clock; log: Log; metrics: Metrics }): RenewalOutages {
  const { clock, log } = parts;
  const outages = new Map<string, Outage>();
  const failures = parts.metrics.counter(
    "skerry_certificate_renewal_info_failures_total",
    "Times that a CA gave no renewal information when it was asked.",
    ["issuer"],
  );
  const outageOf = (issuer: string): Outage => {
    let outage = outages.get(issuer);
    if (!outage) {
      outage = { failures: 0, hosts: new Set(), said: false, saidAt: Number.NEGATIVE_INFINITY };
      outages.set(issuer, outage);
    }
    return outage;
  };
  return {
    answered(issuer) {
      const outage = outages.get(issuer);
      if (!outage || outage.failures === 0) return;
      if (outage.said) {
        const facts = { issuer, failures: outage.failures, hosts: outage.hosts.size };
        log.info("certificate.renewal_info_restored", facts);
      }
      outage.failures = 0;
      outage.hosts.clear();
      outage.said = false;
    },
    failed(issuer, host, thrown, again) {
      failures.inc({ issuer });
      const common = { issuer, host, again: new Date(again).toISOString(), ...errorFields(thrown) };
      // What is wrong with one certificate, such as one that the CA does not know, is said for each.
      if (!isTransient(thrown)) return log.warn("certificate.renewal_info_failed", common);
      const outage = outageOf(issuer);
      outage.failures++;
      outage.hosts.add(host);
      if (clock.now() - outage.saidAt < SAY_AGAIN_MS) return;
      outage.said = true;
      outage.saidAt = clock.now();
      log.warn("certificate.renewal_info_failed", {
        ...common,
        failures: outage.failures,
        hosts: outage.hosts.size,
      });
    },
  };
}
