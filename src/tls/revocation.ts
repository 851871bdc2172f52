/** Taking a certificate back at its CA (RFC 8555 §7.6). */
import type { Clock } from "../clock.ts";
import type { AcmeConfig } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { createAccounts } from "./account.ts";
import type { Bundle } from "./bundle.ts";
import { splitChain } from "./certificate.ts";
import { issuerName } from "./issuer.ts";
import { createTransport } from "./transport.ts";

/** RFC 5280 §5.3.1, as far as subscribers may use them. */
export const REVOCATION_REASONS = {
  unspecified: 0,
  keyCompromise: 1,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
} as const;

export type RevocationReason = keyof typeof REVOCATION_REASONS;

export interface RevokeParts {
  /** The configured CA, with those to turn to. */
  readonly config: AcmeConfig | undefined;
  readonly storage: Storage;
  readonly clock: Clock;
  readonly log: Log;
}

/** Revokes with the account that ordered. Throws CERTIFICATE_INVALID where its CA is not configured, ACME_PROBLEM and the like. */
export async function revokeBundle(
  bundle: Bundle,
  reason: RevocationReason,
  { config, storage, clock, log }: RevokeParts,
  signal: AbortSignal,
): Promise<void> {
  const ca =
    config &&
    [config, ...(config.fallback ?? [])].find(({ directory }) => issuerName(directory) === bundle.issuer);
  const [leaf] = splitChain(bundle.chain);
  if (!ca || !leaf)
    throw new EdgeError(
      "CERTIFICATE_INVALID",
      `${bundle.host}: its certificate came from ${bundle.issuer}, which acme does not name: revoke it there`,
      { source: "operator", status: 409 },
    );
  const accounts = createAccounts({
    issuerName: bundle.issuer,
    config: ca,
    storage,
    transport: createTransport({ clock, trustedCa: ca.trustedCa }),
    wall: () => clock.wall(),
    log,
    onThumbprint: () => {},
  });
  const { client } = accounts.connect(await accounts.ensure(signal), signal);
  await client.revokeCertificate(leaf, { reason: REVOCATION_REASONS[reason] });
}
