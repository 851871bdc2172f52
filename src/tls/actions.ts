/** What an operator may ask of a running edge's certificates. */
import { type Clock, sleep } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Bundle } from "./bundle.ts";
import { certificateFacts } from "./certificate.ts";
import type { CertificateStatus } from "./keeper.ts";
import type { CertificateManager } from "./manager.ts";
import { type RevocationReason, type RevokeParts, revokeBundle } from "./revocation.ts";

export interface CertificateActions {
  /**
   * Renews now, and resolves when the new certificate is served. Throws CERTIFICATE_MISSING for a host that is not
   * configured, CERTIFICATE_INVALID for own files and for a certificate that is not due (unless `force`), and what the CA says.
   */
  renew(host: string, force: boolean, signal: AbortSignal): Promise<CertificateStatus>;
  /** Renews with a new key first, so that nobody meets a revoked certificate; not where operation ends. */
  revoke(
    host: string,
    reason: RevocationReason,
    signal: AbortSignal,
  ): Promise<{ serial: string; status: CertificateStatus }>;
  /** Looks at storage again, where another program may have put a newer one. */
  reload(host: string): Promise<CertificateStatus>;
}

export interface CertificateActionsParts extends RevokeParts {
  readonly manager: CertificateManager;
  bundle(host: string): Bundle | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** As long as an order may take. */
const WAIT_MS = 300_000;
const LOOK_MS = 100;

export function createCertificateActions(parts: CertificateActionsParts): CertificateActions {
  const { manager, bundle, clock, log } = parts;

  const statusOf = (host: string): CertificateStatus => {
    const status = manager.status().find((each) => each.host === host);
    if (status) return status;
    throw new EdgeError("CERTIFICATE_MISSING", `${host} is no host of this edge`, {
      source: "operator",
      status: 404,
    });
  };

  const renew: CertificateActions["renew"] = async (host, force, signal) => {
    const before = statusOf(host);
    if (before.source === "file")
      throw refused(`${host} has a certificate of your own: put a new one into its files`);
    if (!force && before.state === "valid") {
      const at =
        before.nextAttemptAt === undefined ? "" : ` before ${new Date(before.nextAttemptAt).toISOString()}`;
      throw refused(`${host} is not due for renewal${at}: use --force to renew all the same`);
    }
    const failedAt = before.failure?.at;
    manager.retry(host);
    const end = clock.now() + WAIT_MS;
    for (;;) {
      await sleep(clock, LOOK_MS, signal);
      const now = statusOf(host);
      if ((now.generation ?? 0) > (before.generation ?? 0)) return now;
      if (now.failure && now.failure.at !== failedAt)
        throw new EdgeError("ACME_PROBLEM", `${host}: ${now.failure.message}`, { source: "ca", status: 502 });
      if (clock.now() > end)
        throw new EdgeError("ACME_TIMEOUT", `${host}: the order takes long; it goes on`, {
          source: "ca",
          status: 504,
        });
    }
  };

  return {
    renew,
    async revoke(host, reason, signal) {
      statusOf(host);
      const old = bundle(host);
      if (!old) throw refused(`${host} has no certificate to revoke`);
      const { serial } = certificateFacts(old.chain, host);
      const status = reason === "cessationOfOperation" ? statusOf(host) : await renew(host, true, signal);
      await revokeBundle(old, reason, parts, signal);
      log.warn("certificate.revoked", { host, serial, reason, generation: old.generation });
      return { serial, status };
    },
    async reload(host) {
      statusOf(host);
      await manager.reload(host);
      return statusOf(host);
    },
  };
}

function refused(message: string): EdgeError {
  return new EdgeError("CERTIFICATE_INVALID", message, { source: "operator", status: 409 });
}
