/**
 * Asks for the addresses of a name: the hosts file first, then DNS, then, where DNS knows nothing, the system's own
 * resolver, which knows search domains and multicast names but tells no TTL.
 */
import { lookup, Resolver } from "node:dns";
import { readFile } from "node:fs/promises";
import { isIP } from "node:net";
import { type Clock, sleep } from "../clock.ts";
import { DNS_NOTHING } from "../runtime.ts";
import { type Answer, type Endpoint, type Resolve, UNTOLD_TTL_MS } from "../upstream/names.ts";

export interface ResolveOptions {
  readonly clock: Clock;
  /** `address:port` of each DNS server; none for the system's. */
  readonly servers: () => readonly string[];
  /** @default "/etc/hosts" */
  readonly hostsFile?: string;
  /** For one question, with its repetitions. @default 5_000 */
  readonly timeoutMs?: number;
}

/** Of one question to one server; then it is asked again, or the next one is. */
const TRY_MS = 1500;
const TRIES = 2;

interface Addresses {
  readonly list: readonly string[];
  readonly ttlMs: number | undefined;
}

/** A failure with the code that `node:dns` gives. */
function failure(code: string, name: string): Error {
  return Object.assign(new Error(`${code} ${name}`), { code });
}
const codeOf = (error: unknown): string => String((error as { code?: unknown }).code);
/** DNS said that there is nothing. */
const isNothing = (error: unknown): boolean => DNS_NOTHING.includes(codeOf(error));

/** Resolves names by the machine's means. Rejects with a code such as ENOTFOUND, ESERVFAIL or ETIMEOUT. */
export function createResolve(options: ResolveOptions): Resolve {
  const { clock, hostsFile = "/etc/hosts", timeoutMs = 5000 } = options;

  const answer = async (name: string, srv: boolean, resolver: Resolver): Promise<Answer> => {
    if (srv) return services(name, resolver);
    const { list, ttlMs } = await addresses(name, resolver);
    return { endpoints: list.map((address) => ({ address })), ttlMs };
  };

  const addresses = async (name: string, resolver: Resolver): Promise<Addresses> => {
    const own = await fromHostsFile(name, hostsFile);
    if (own.length > 0) return { list: own, ttlMs: undefined };
    const families = await Promise.allSettled([
      queryAddresses(resolver, 4, name),
      queryAddresses(resolver, 6, name),
    ]);
    const list = families.flatMap((family) => (family.status === "fulfilled" ? family.value : []));
    if (list.length > 0)
      return {
        list: list.map(({ address }) => address),
        ttlMs: Math.min(...list.map(({ ttl }) => ttl)) * 1000,
      };
    const errors = families.flatMap((family) =>
      family.status === "rejected" ? [family.reason as unknown] : [],
    );
    const worst = errors.find((error) => !isNothing(error)) ?? errors[0] ?? failure("ENODATA", name);
    // A system resolver that waits for a DNS server holds one of few threads, so it is not asked after a timeout. And
    // who names servers wants these and no others.
    if (options.servers().length > 0 || codeOf(worst) === "ETIMEOUT") throw worst;
    const looked = await lookUp(name);
    if (looked.length === 0) throw worst;
    return { list: looked, ttlMs: undefined };
  };

  /** RFC 2782: the targets of the lowest priority, each with its own port and weight. */
  const services = async (name: string, resolver: Resolver): Promise<Answer> => {
    const records = await querySrv(resolver, name);
    const first = Math.min(...records.map(({ priority }) => priority));
    // "." says that the service is decidedly not there.
    const targets = records.filter((record) => record.priority === first && !["", "."].includes(record.name));
    // A resolver answers SRV questions without their TTL.
    let ttlMs = UNTOLD_TTL_MS;
    const found = await Promise.all(
      targets.map(async ({ name: target, port, weight }): Promise<Endpoint[]> => {
        if (isIP(target)) return [{ address: target, port, weight: weightOf(weight) }];
        const of = await addresses(target, resolver).catch((error: unknown) => {
          // One target that is gone leaves the others; a DNS server that fails leaves everything as it was.
          if (isNothing(error)) return undefined;
          throw error;
        });
        ttlMs = Math.min(ttlMs, of?.ttlMs ?? UNTOLD_TTL_MS);
        return (of?.list ?? []).map((address) => ({ address, port, weight: weightOf(weight) }));
      }),
    );
    const endpoints = found.flat();
    if (endpoints.length === 0) throw failure("ENODATA", name);
    return { endpoints, ttlMs };
  };

  return async ({ name, srv }) => {
    // A new one each time: it reads the system's configuration as it is now, and remembers no answers.
    const resolver = new Resolver({ timeout: TRY_MS, tries: TRIES });
    const servers = options.servers();
    if (servers.length > 0) resolver.setServers(servers);
    const over = new AbortController();
    const late = sleep(clock, timeoutMs, over.signal).then(() => {
      throw failure("ETIMEOUT", name);
    });
    try {
      return await Promise.race([answer(name, srv, resolver), late]);
    } finally {
      late.catch(() => {}); // Whoever lost the race is of no interest.
      over.abort();
      resolver.cancel();
    }
  };
}

/** Weight 0 is for "hardly ever" (RFC 2782), and a pool knows only positive ones. */
function weightOf(weight: number): number {
  return weight === 0 ? 0.1 : weight;
}

function queryAddresses(
  resolver: Resolver,
  family: 4 | 6,
  name: string,
): Promise<{ address: string; ttl: number }[]> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, records: { address: string; ttl: number }[]): void =>
      error ? reject(error) : resolve(records);
    if (family === 4) resolver.resolve4(name, { ttl: true }, done);
    else resolver.resolve6(name, { ttl: true }, done);
  });
}

type Srv = { name: string; port: number; priority: number; weight: number };

function querySrv(resolver: Resolver, name: string): Promise<Srv[]> {
  return new Promise((resolve, reject) => {
    resolver.resolveSrv(name, (error, records) => (error ? reject(error) : resolve(records)));
  });
}

/** Nothing where the system knows nothing: its reasons are no better than those of DNS. */
function lookUp(name: string): Promise<string[]> {
  return new Promise((resolve) => {
    lookup(name, { all: true }, (error, found) =>
      resolve(error ? [] : [...new Set(found.map(({ address }) => address))]),
    );
  });
}

async function fromHostsFile(name: string, path: string): Promise<string[]> {
  // No such file, no such names: some systems have none.
  const text = await readFile(path, "utf8").catch(() => "");
  const wanted = name.toLowerCase().replace(/\.$/, "");
  const found = new Set<string>();
  for (const line of text.split("\n")) {
    const [address = "", ...names] = line.replace(/#.*/, "").trim().split(/\s+/);
    if (isIP(address) !== 0 && names.some((each) => each.toLowerCase() === wanted)) found.add(address);
  }
  return [...found];
}
