/** Where certificates come from. */
import type { Clock } from "../clock.ts";
import type { AcmeConfig, KeyType } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import { type Log, silentLog } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { type Account, accountLoss, createAccounts, thumbprintOf } from "./account.ts";
import { type Connection, createShared, resourcesOf } from "./acme.ts";
import { ariId, parseRenewalInfo, type RenewalInfo } from "./ari.ts";
import { bundleOf, checkServable, type KeyPair } from "./bundle.ts";
import { invalid, splitChain } from "./certificate.ts";
import { newKey } from "./certificate-key.ts";
import { certificateRequest } from "./certificate-request.ts";
import { type HttpChallenge, httpSolver } from "./challenge.ts";
import { createPendingOrders, type PendingOrder } from "./pending.ts";
import { pollUntil } from "./poll.ts";
import type { Preflight } from "./preflight.ts";
import { AcmeProblem, parseRetryAfter, problemFrom, problemOf } from "./problem.ts";
import { createTransport, type TransportOptions } from "./transport.ts";
import { type Solver, validate } from "./validate.ts";

export interface IssuedCertificate extends KeyPair {
  readonly ariId?: string;
  readonly profile?: string;
  /** The name of the issuer that made it, where it is one of several. */
  readonly issuer?: string;
  /** To be called when it is stored: until then, after a crash, the same order can be collected again. */
  settle?(): Promise<void>;
}

/** What an order asks for besides its name. */
export interface OrderWish {
  readonly profile?: string | undefined;
  /** Rather the CA's default than no certificate, where it does not offer the profile. */
  readonly profileOptional?: boolean;
  readonly keyType?: KeyType | undefined;
  /** RFC 9773 §5: the certificate that it takes the place of. */
  readonly replaces?: string | undefined;
  /** Of the certificate in use: an order that has this key is over, whatever is written. */
  readonly keyInUse?: string | undefined;
}

/**
 * Implementers MUST stop soon after `signal` aborts, make a new key each time, return a chain that covers `host` and fits
 * its key, and throw EdgeError: with `retry: "any"` where nothing was spent at the CA, so that trying again soon is harmless.
 */
export interface Issuer {
  readonly name: string;
  /** The CA's directory, where there is one. */
  readonly directory?: string;
  /** What must be known before an order, by every edge: the account. Safe to call often. */
  prepare?(signal: AbortSignal): Promise<void>;
  issue(host: string, signal: AbortSignal, wish?: OrderWish): Promise<IssuedCertificate>;
  /** Whether an order of ours waits to be finished, so that {@link issue} makes no new one. */
  hasPending?(host: string): Promise<boolean>;
  /** RFC 9773 §4.1; undefined where the CA has none. */
  renewalInfo?(ariId: string, signal: AbortSignal): Promise<RenewalInfo | undefined>;
  /** How far the CA's clock is ahead of ours, in milliseconds, as last seen; undefined before. */
  skewMs?(): number | undefined;
}

export interface AcmeIssuerOptions {
  config: AcmeConfig;
  storage: Storage;
  challenge: HttpChallenge;
  /** Ways to prove a name, in the order of preference. @default HTTP-01 by `challenge` */
  solvers?: readonly Solver[];
  /** Looks at a name before it is ordered. @default nobody does */
  preflight?: Pick<Preflight, "check">;
  clock: Clock;
  /** @default none */
  log?: Log;
  /** For one HTTP call. @default 30_000 */
  requestTimeoutMs?: number;
  /** For the CA to validate, and again for it to issue. @default 300_000 */
  pollTimeoutMs?: number;
}

const DEFAULT_POLL_TIMEOUT_MS = 300_000;

/** An issuer that speaks ACME (RFC 8555). Throws CONFIG_INVALID where the CA's terms are not agreed to. */
export function createAcmeIssuer(options: AcmeIssuerOptions): Issuer {
  const { config, storage, challenge, clock, pollTimeoutMs = DEFAULT_POLL_TIMEOUT_MS } = options;
  const { log = silentLog } = options;
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
  const pending = createPendingOrders(storage, wall);
  let skewMs: number | undefined;
  const transportOptions: TransportOptions = {
    clock,
    trustedCa: config.trustedCa,
    onDate: (at) => {
      skewMs = at - clock.wall();
    },
  };
  if (options.requestTimeoutMs !== undefined) transportOptions.timeoutMs = options.requestTimeoutMs;
  const transport = createTransport(transportOptions);
  const shared = createShared();
  const accounts = createAccounts({
    shared,
    issuerName: name,
    config,
    storage,
    transport,
    wall,
    log,
    onThumbprint: (thumbprint) => challenge.setThumbprint(thumbprint, name),
  });

  interface Started {
    readonly account: Account;
    readonly connection: Connection;
    readonly order: Order;
    /** Of the certificate to come; stored with the order's URL. */
    readonly key: string;
    readonly profile: string | undefined;
  }

  /** The order that an earlier run, or a lost connection, left unfinished. */
  const resume = async (
    host: string,
    { account, connection }: Pick<Started, "account" | "connection">,
    wish: Pick<PendingOrder, "keyType"> & Pick<OrderWish, "profile" | "keyInUse">,
  ): Promise<Started | undefined> => {
    const left = await pending.load(host);
    if (left?.issuer !== name) return undefined;
    const { key, profile } = left;
    const over = key === wish.keyInUse;
    if (!over && left.account === account.url && left.keyType === wish.keyType && profile === wish.profile) {
      try {
        const order = await connection.client.getOrder({ url: left.order } as Order);
        if (order.status !== "invalid") {
          log.info("certificate.order_resumed", { host, issuer: name, status: order.status });
          return { account, connection, order: { ...order, url: left.order }, key, profile };
        }
      } catch (thrown) {
        if (isTransient(thrown) || accountLoss(thrown)) throw thrown;
        // The CA knows it no longer.
      }
    }
    await pending.remove(host);
    return undefined;
  };

  const start = async (host: string, account: Account, wish: OrderWish, signal: AbortSignal) => {
    const connection = accounts.connect(account, signal);
    const keyType = wish.keyType ?? config.keyType ?? "p256";
    const profile = await offeredProfile(connection, wish);
    const left = await resume(host, { account, connection }, { keyType, profile, keyInUse: wish.keyInUse });
    if (left) return left;
    const thumbprint = thumbprintOf(account.key);
    await options.preflight?.check(host, { accountUrl: account.url, thumbprint }, signal);
    const key = await newKey(keyType);
    const order = await placeOrder(connection, host, profile, wish.replaces);
    // From here on a crash loses neither the order nor its key.
    await pending.store(host, {
      issuer: name,
      account: account.url ?? "",
      order: order.url,
      key,
      keyType,
      profile,
      at: clock.wall(),
    });
    return { account, connection, order, key, profile };
  };

  /** The profile to order with: checked first, as an order for one that is not offered is refused. */
  const offeredProfile = async (connection: Connection, wish: OrderWish): Promise<string | undefined> => {
    const wanted = wish.profile ?? config.profile;
    if (wanted === undefined) return undefined;
    const offered = Object.keys(((await connection.meta("profiles")) as object | null) ?? {});
    if (offered.includes(wanted)) return wanted;
    const message = `${config.directory} offers no profile ${JSON.stringify(wanted)}${offered.length ? `, but ${offered.join(", ")}` : ""}`;
    if (!wish.profileOptional) throw new EdgeError("CONFIG_INVALID", message, { source: "operator" });
    log.error("certificate.profile_missing", { issuer: name, profile: wanted, offered });
    return undefined;
  };

  const placeOrder = async (
    { client }: Connection,
    host: string,
    profile: string | undefined,
    replaces: string | undefined,
  ): Promise<Order> => {
    const order = {
      identifiers: [{ type: "dns", value: host }],
      ...(profile !== undefined && { profile }),
    };
    if (replaces === undefined) return client.createOrder(order);
    try {
      return await client.createOrder({ ...order, replaces } as typeof order);
    } catch (thrown) {
      const problem = problemOf(thrown);
      // RFC 9773 §5: somebody renewed it already, or the CA does not know it. The order stands without.
      const about = problem?.type === "alreadyReplaced" || /replace/i.test(problem?.detail ?? "");
      if (!about || problem?.type === "rateLimited") throw thrown;
      log.warn("certificate.replaces_refused", { host, issuer: name, problem: problem?.message });
      return client.createOrder(order);
    }
  };

  /** As {@link start}; anew where the CA has lost or closed the account. */
  const begin = async (host: string, wish: OrderWish, signal: AbortSignal): Promise<Started> => {
    const account = await accounts.ensure(signal);
    try {
      return await start(host, account, wish, signal);
    } catch (thrown) {
      const loss = accountLoss(thrown);
      if (!loss || account.url === undefined) throw thrown;
      log.warn("account.lost", { issuer: name, loss });
      return start(host, await accounts.replace(account, loss, signal), wish, signal);
    }
  };

  const collect = async (
    { connection, order: first, key }: Started,
    host: string,
    signal: AbortSignal,
  ): Promise<KeyPair> => {
    const { client } = connection;
    let order = first;
    const poll = async (wanted: readonly string[], firstMs?: number): Promise<void> => {
      if (wanted.includes(order.status)) return;
      await pollUntil({
        what: `${host}: the order at the CA`,
        clock,
        signal,
        timeoutMs: pollTimeoutMs,
        firstMs,
        forgive: isTransient,
        look: async () => {
          if (order.status === "invalid") throw orderFailed(host, order);
          order = await client.getOrder(order);
          if (wanted.includes(order.status)) return true;
          if (order.status === "invalid") throw orderFailed(host, order);
          return connection.retryAfter(order.url);
        },
      });
    };
    order = await client.getOrder(order);
    await poll(["ready", "processing", "valid"]);
    if (order.status === "ready") order = await client.finalizeOrder(order, certificateRequest(host, key));
    await poll(["valid"], connection.retryAfter(order.finalize));
    return { key, chain: await client.getCertificate(order, config.preferredChain) };
  };

  const finish = async (started: Started, host: string, signal: AbortSignal): Promise<IssuedCertificate> => {
    const { account, connection, order, profile } = started;
    if (order.status === "pending") {
      const thumbprint = thumbprintOf(account.key);
      const timeoutMs = pollTimeoutMs;
      const forgive = isTransient;
      await validate({ connection, order, host, solvers, thumbprint, clock, timeoutMs, forgive, signal });
    }
    const pair = await collect(started, host, signal);
    checkIssued(pair, host, name, wall());
    const id = ariId(pair.chain);
    return {
      ...pair,
      issuer: name,
      ...(id !== undefined && { ariId: id }),
      ...(profile !== undefined && { profile }),
      settle: () => pending.remove(host),
    };
  };

  return {
    name,
    directory: config.directory,
    skewMs: () => skewMs,
    async prepare(signal) {
      await guard(() => accounts.ensure(signal), "any", signal);
    },
    async hasPending(host) {
      return (await pending.load(host))?.issuer === name;
    },
    async issue(host, signal, wish = {}) {
      const started = await guard(() => begin(host, wish, signal), "any", signal);
      try {
        return await guard(() => finish(started, host, signal), "never", signal);
      } catch (thrown) {
        // A refusal ends an order. After a fault, or where the CA was told nothing yet, it may be finished the next time.
        const open = thrown instanceof EdgeError && thrown.retry === "any";
        if (!signal.aborted && !isTransient(thrown) && !open) await pending.remove(host);
        throw thrown;
      }
    },
    async renewalInfo(id, signal) {
      return guard(
        async () => {
          const { directory } = config;
          const { renewalInfo: base } = await resourcesOf({ directory, shared, transport, signal, wall });
          if (typeof base !== "string") return undefined;
          const url = `${base.replace(/\/$/, "")}/${id}`;
          const answer = await transport({ url, method: "GET" }, signal);
          return parseRenewalInfo(answer.data, parseRetryAfter(answer.headers["retry-after"], wall()));
        },
        "any",
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
export function isTransient(thrown: unknown): boolean {
  if (!(thrown instanceof EdgeError)) return false;
  if (thrown.code === "ACME_UNREACHABLE" || thrown.code === "ACME_TIMEOUT") return true;
  return thrown.code === "ACME_PROBLEM" && thrown.cause instanceof AcmeProblem && thrown.cause.status >= 500;
}

/** A certificate for another name or key must never replace one that works. */
function checkIssued(pair: KeyPair, host: string, name: string, obtainedAt: number): void {
  const what = `${host}: the certificate from ${name}`;
  try {
    // An answer that broke off: what is left of it may look like a shorter chain.
    if (pair.chain.split("-----BEGIN CERTIFICATE-----").length - 1 !== splitChain(pair.chain).length) {
      throw invalid(what, "is truncated");
    }
    checkServable(bundleOf(pair, { host, issuer: name, generation: 0, obtainedAt }, what), what);
  } catch (thrown) {
    if (!(thrown instanceof EdgeError)) throw thrown;
    const { code, message, cause } = thrown;
    throw new EdgeError(code, message, { source: "ca", cause });
  }
}

function orderFailed(host: string, order: { error?: object }): EdgeError {
  const problem = problemFrom(order.error, 0);
  return new EdgeError("ACME_PROBLEM", `${host}: the CA gave up the order: ${problem.message}`, {
    source: "ca",
    cause: problem,
  });
}
