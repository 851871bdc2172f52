/** Everything that proves names to CAs, as a config asks for it. */
import type { Clock } from "../clock.ts";
import type { AcmeConfig } from "../config/config.ts";
import type { Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { type AlpnChallenge, createAlpnChallenge } from "../tls/alpn-challenge.ts";
import { createHttpChallenge, type HttpChallenge } from "../tls/challenge.ts";
import { createAcmeIssuer, type Issuer } from "../tls/issuer.ts";
import { createPreflight, isPublicDirectory } from "../tls/preflight.ts";
import { createSolvers } from "../tls/solvers.ts";

export interface Issuing {
  readonly challenge: HttpChallenge;
  /** Undefined where TLS-ALPN-01 is not configured. */
  readonly alpn: AlpnChallenge | undefined;
  /** The configured CA, then those to turn to. */
  readonly issuers: readonly Issuer[] | undefined;
  /** Proofs that begin from now on use the `dns` of a changed config. */
  follow(config: AcmeConfig | undefined): void;
}

export function createIssuing(
  config: AcmeConfig | undefined,
  { storage, clock, log }: { storage: Storage; clock: Clock; log: Log },
): Issuing {
  const wall = (): number => clock.wall();
  const challenge = createHttpChallenge({ storage, wall });
  if (!config) return { challenge, alpn: undefined, issuers: undefined, follow() {} };
  const alpn = createAlpnChallenge(wall);
  let { dns } = config;
  const solvers = createSolvers({ config, dnsConfig: () => dns, http: challenge, alpn, clock, log });
  const issuers = [config, ...(config.fallback ?? [])].map((acme) =>
    createAcmeIssuer({
      config: acme,
      storage,
      challenge,
      solvers,
      clock,
      log,
      ...((acme.preflight ?? isPublicDirectory(acme.directory)) && {
        preflight: createPreflight({ config: acme, clock, log }),
      }),
    }),
  );
  return {
    challenge,
    alpn: solvers.some(({ type }) => type === "tls-alpn-01") ? alpn : undefined,
    issuers,
    follow(next) {
      dns = next?.dns;
    },
  };
}
