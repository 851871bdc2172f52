/** Where certificates come from. */
import type { Clock } from "../clock.ts";
import type { AcmeConfig } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { createAccounts, isAccountLost, newKey, thumbprintOf } from "./account.ts";
import { type Connection, certificateRequest } from "./acme.ts";
import { ariId } from "./ari.ts";
import { bundleOf, checkServable, type KeyPair } from "./bundle.ts";
import { type HttpChallenge, httpSolver } from "./challenge.ts";
import { pollUntil } from "./poll.ts";
import { AcmeProblem, problemFrom } from "./problem.ts";
import { createTransport, type TransportOptions } from "./transport.ts";
import { type Solver, validate } from "./validate.ts";

export interface IssuedCertificate extends KeyPair {
  readonly ariId?: string;
}

/**
 * Implementers MUST stop soon after `signal` aborts, make a new key each time, return a chain that covers `host` and fits
 * its key, and throw EdgeError: with `retry: "any"` where nothing was spent at the CA, so that trying again soon is harmless.
 */
export interface Issuer {
  readonly name: string;
  /** What must be known before an order, by every edge: the account. Safe to call often. */
  prepare?(signal: AbortSignal): Promise<void>;
  issue(host: string, signal: AbortSignal): Promise<IssuedCertificate>;
}

export interface AcmeIssuerOptions {
  config: AcmeConfig;
  storage: Storage;
  challenge: HttpChallenge;
  /** Ways to prove a name, in the order of preference. @default HTTP-01 by `challenge` */
  solvers?: readonly Solver[];
  clock: Clock;
  /** For one HTTP call. @default 30_000 */
  requestTimeoutMs?: number;
  /** For the CA to validate, and again for it to issue. @default 300_000 */
  pollTimeoutMs?: number;
}

const DEFAULT_POLL_TIMEOUT_MS = 300_000;

/** An issuer that speaks ACME (RFC 8555) with HTTP-01. Throws CONFIG_INVALID where the CA's terms are not agreed to. */
export function createAcmeIssuer(options: AcmeIssuerOptions): Issuer {
  const { config, storage, challenge, clock, pollTimeoutMs = DEFAULT_POLL_TIMEOUT_MS } = options;
  if (!config.agreeToTerms) {
    throw new EdgeError(
      "CONFIG_INVALID",
      `acme.agreeToTerms must be true: ${config.directory} issues only to those who agree to its terms of service`,
      { source: "operator" },
    );
  }
  const name = issuerName(config.directory);
  const solvers = options.solvers ?? [httpSolver(challenge)];
  const wall = (): number => clock.wall();
  const transportOptions: TransportOptions = { clock, trustedCa: config.trustedCa };
  if (options.requestTimeoutMs !== undefined) transportOptions.timeoutMs = options.requestTimeoutMs;
  const accounts = createAccounts({
    issuerName: name,
    config,
    storage,
    transport: createTransport(transportOptions),
    wall,
    onThumbprint: (thumbprint) => challenge.setThumbprint(thumbprint, name),
  });

  /** A connection and a new order; both anew where the CA has lost the account. */
  const begin = async (host: string, signal: AbortSignal) => {
    const order = { identifiers: [{ type: "dns", value: host }] };
    const account = await accounts.ensure(signal);
    const connection = accounts.connect(account, signal);
    try {
      return { account, connection, order: await connection.client.createOrder(order) };
    } catch (thrown) {
      if (!isAccountLost(thrown) || account.url === undefined) throw thrown;
      const renewed = await accounts.replace(account.url, signal);
      const again = accounts.connect(renewed, signal);
      return { account: renewed, connection: again, order: await again.client.createOrder(order) };
    }
  };

  const collect = async (connection: Connection, first: Order, host: string, signal: AbortSignal) => {
    const { client } = connection;
    const key = await newKey();
    let order = first;
    const poll = (wanted: readonly string[]): Promise<void> =>
      pollUntil({
        what: `${host}: the order at the CA`,
        clock,
        signal,
        timeoutMs: pollTimeoutMs,
        forgive: isTransient,
        look: async () => {
          if (wanted.includes(order.status)) return true;
          if (order.status === "invalid") throw orderFailed(host, order);
          order = await client.getOrder(order);
          if (wanted.includes(order.status)) return true;
          if (order.status === "invalid") throw orderFailed(host, order);
          return connection.retryAfter(order.url);
        },
      });
    order = await client.getOrder(order);
    await poll(["ready", "valid"]);
    if (order.status === "ready") {
      order = await client.finalizeOrder(order, await certificateRequest(host, key));
      await poll(["valid"]);
    }
    return { key, chain: await client.getCertificate(order) };
  };

  return {
    name,
    async prepare(signal) {
      await guard(() => accounts.ensure(signal), "any", signal);
    },
    async issue(host, signal) {
      const { account, connection, order } = await guard(() => begin(host, signal), "any", signal);
      return guard(
        async () => {
          await validate({
            connection,
            order,
            host,
            solvers,
            thumbprint: thumbprintOf(account.key),
            clock,
            timeoutMs: pollTimeoutMs,
            forgive: isTransient,
            signal,
          });
          const pair = await collect(connection, order, host, signal);
          // A certificate for another name or key must never replace one that works.
          const what = `${host}: the certificate from ${name}`;
          checkServable(
            bundleOf(pair, { host, issuer: name, generation: 0, obtainedAt: wall() }, what),
            what,
          );
          const id = ariId(pair.chain);
          return { ...pair, ...(id !== undefined && { ariId: id }) };
        },
        "never",
        signal,
      );
    },
  };
}

type Order = Awaited<ReturnType<Connection["client"]["createOrder"]>>;

/** A folder name for a directory's URL: "acme-v02.api.letsencrypt.org-directory". */
export function issuerName(directory: string): string {
  const { host, pathname } = new URL(directory);
  return `${host}${pathname}`
    .replace(/[^A-Za-z0-9.]+/g, "-")
    .replace(/^[-.]+|[-.]+$/g, "")
    .slice(0, 200);
}

/** Turns what is not ours into an EdgeError, and says whether anything was spent at the CA. */
async function guard<T>(work: () => Promise<T>, retry: "any" | "never", signal: AbortSignal): Promise<T> {
  try {
    return await work();
  } catch (thrown) {
    if (signal.aborted) throw signal.reason;
    if (thrown instanceof EdgeError) {
      const { code, message, source, status, cause } = thrown;
      if (!isTransient(thrown) || retry === thrown.retry) throw thrown;
      throw new EdgeError(code, message, { source, status, retry, cause });
    }
    throw new EdgeError("ACME_PROBLEM", thrown instanceof Error ? thrown.message : String(thrown), {
      source: "ca",
      retry: "never",
      cause: thrown,
    });
  }
}

/** A fault of the network or of the CA itself, not a refusal. */
function isTransient(thrown: unknown): boolean {
  if (!(thrown instanceof EdgeError)) return false;
  if (thrown.code === "ACME_UNREACHABLE" || thrown.code === "ACME_TIMEOUT") return true;
  return thrown.code === "ACME_PROBLEM" && thrown.cause instanceof AcmeProblem && thrown.cause.status >= 500;
}

function orderFailed(host: string, order: { error?: object }): EdgeError {
  const problem = problemFrom(order.error, 0);
  return new EdgeError("ACME_PROBLEM", `${host}: the CA gave up the order: ${problem.message}`, {
    source: "ca",
    cause: problem,
  });
}
