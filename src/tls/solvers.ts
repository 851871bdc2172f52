/** The ways to prove a name that a config asks for, in its order. */
import type { Clock } from "../clock.ts";
import type { AcmeConfig, AcmeDnsConfig, ChallengeType } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import type { Log } from "../log.ts";
import { runtimeName } from "../runtime.ts";
import { type AlpnChallenge, alpnSolver } from "./alpn-challenge.ts";
import { type HttpChallenge, httpSolver } from "./challenge.ts";
import { dnsProvider, dnsSolver } from "./dns-challenge.ts";
import { createDnsClient } from "./dns-client.ts";
import { persistSolver } from "./dns-persist.ts";
import type { Solver } from "./validate.ts";

export interface SolversOptions {
  readonly config: AcmeConfig;
  /** What changes DNS for an order that begins now. @default `config.dns` */
  readonly dnsConfig?: () => AcmeDnsConfig | undefined;
  readonly http: HttpChallenge;
  readonly alpn: AlpnChallenge;
  readonly clock: Clock;
  readonly log: Log;
}

/** What is used where `acme.challenges` does not say. */
export function challengeTypes({ challenges, dns }: AcmeConfig): readonly ChallengeType[] {
  return challenges ?? (dns ? ["dns-01"] : ["http-01"]);
}

/** Throws CONFIG_INVALID where nothing of what is configured can work on this runtime. */
export function createSolvers(options: SolversOptions): readonly Solver[] {
  const { config, http, alpn, clock, log, dnsConfig = () => config.dns } = options;
  const dns = createDnsClient({ clock, servers: config.dnsServers });
  let made: { readonly from: AcmeDnsConfig; readonly solver: Solver } | undefined;
  /** As configured now. What it put into DNS, it takes away, whatever is configured by then. */
  const dnsNow = (): Solver | undefined => {
    const from = dnsConfig();
    if (from && made?.from !== from) {
      made = { from, solver: dnsSolver({ provider: dnsProvider(from, clock), dns, clock, log }) };
    }
    return from && made?.solver;
  };
  const solverOf = (type: ChallengeType): Solver | undefined => {
    switch (type) {
      case "http-01":
        return httpSolver(http);
      case "tls-alpn-01":
        return runtimeName === "deno" ? undefined : alpnSolver(alpn);
      case "dns-01":
        return followed(dnsNow);
      case "dns-persist-01":
        return persistSolver({ dns, clock, log });
      default:
        return type satisfies never;
    }
  };
  const types = challengeTypes(config);
  const solvers = types.map(solverOf).filter((solver) => solver !== undefined);
  if (solvers.length < types.length) {
    // Deno 2.9.6: rustls leaves a critical extension that it does not know out of the certificate it is given,
    // and RFC 8737 §3 wants acmeIdentifier to be critical.
    const message =
      "acme.challenges: tls-alpn-01 cannot work on Deno; add http-01 or dns-01, or run on Node or Bun";
    if (solvers.length === 0) throw new EdgeError("CONFIG_INVALID", message, { source: "operator" });
    log.warn("challenge.unavailable", { type: "tls-alpn-01", message });
  }
  return solvers;
}

/** A solver that is looked up for each proof; undefined where there is none to begin with. */
function followed(now: () => Solver | undefined): Solver | undefined {
  const first = now();
  return (
    first && {
      ...first,
      present: (answer, signal) => (now() ?? first).present(answer, signal),
    }
  );
}
