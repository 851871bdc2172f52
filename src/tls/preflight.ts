/**
 * A look at a name before the CA is asked: what it would refuse costs one of five attempts an hour there, and nothing here.
 *
 * What a look finds wrong for certain (no address, CAA) delays the order until it is mended. What may look different from
 * here than from the CA (a router that lets no one in from inside, a network without IPv6) delays it only a few times: then
 * the CA decides.
 */
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";
import type { Clock } from "../clock.ts";
import type { AcmeConfig } from "../config/config.ts";
import { EdgeError, messageOf } from "../errors.ts";
import type { Log } from "../log.ts";
import { caaRefusal, findCaa } from "./caa.ts";
import { createDnsClient, type DnsClient } from "./dns-client.ts";
import { askReach } from "./reach.ts";
import { challengeTypes } from "./solvers.ts";
import { createTransport, type Transport } from "./transport.ts";

export type CheckName = "ca" | "clock" | "dns" | "caa" | "port 80";

export interface Finding {
  readonly check: CheckName;
  readonly ok: boolean;
  /** Whether the CA is bound to find the same. */
  readonly certain: boolean;
  /** What was seen. */
  readonly message: string;
  /** What to do about it. */
  readonly fix?: string | undefined;
}

/** Who asks for a certificate. */
export interface Applicant {
  readonly accountUrl: string | undefined;
  /** Of the account's key; undefined: then nobody can prove to be this edge. */
  readonly thumbprint: string | undefined;
}

export interface Preflight {
  /** Everything about a host, good or bad, in the order to read it in. Rejects only with the signal's reason. */
  look(host: string, applicant: Applicant, signal: AbortSignal): Promise<Finding[]>;
  /** Throws PREFLIGHT_FAILED (`retry: "any"`) while an order for the host had better wait. */
  check(host: string, applicant: Applicant, signal: AbortSignal): Promise<void>;
}

export interface PreflightOptions {
  readonly config: AcmeConfig;
  readonly clock: Clock;
  readonly log: Log;
  /** As the world sees it. @default 80 */
  readonly httpPort?: number;
  readonly dns?: DnsClient;
  readonly transport?: Transport;
}

/** So many delays for what is not certain: 5, 15 and 30 seconds. */
const MOST_DELAYS = 3;
/** Certificates begin an hour before they are issued; long before that is used up, somebody should look. */
const MOST_SKEW_MS = 600_000;
const DIRECTORY_LIFE_MS = 3_600_000;

interface Directory {
  readonly identities: readonly string[];
  readonly skewMs: number;
  readonly at: number;
}

export function createPreflight(options: PreflightOptions): Preflight {
  const { config, clock, log, httpPort = 80 } = options;
  const dns = options.dns ?? createDnsClient({ clock, servers: config.dnsServers });
  const transport = options.transport ?? createTransport({ clock, trustedCa: config.trustedCa });
  const types = challengeTypes(config);
  let known: Directory | undefined;
  const delays = new Map<string, number>();

  const directory = async (signal: AbortSignal): Promise<Directory> => {
    if (known && clock.now() - known.at < DIRECTORY_LIFE_MS) return known;
    const { data, headers } = await transport({ url: config.directory, method: "GET" }, signal);
    const meta = (data as { meta?: { caaIdentities?: unknown } } | undefined)?.meta;
    const listed = Array.isArray(meta?.caaIdentities) ? meta.caaIdentities : [];
    const identities = listed.filter((each) => typeof each === "string").map((each) => each.toLowerCase());
    const date = Date.parse(headers.date ?? "");
    known = { identities, skewMs: Number.isNaN(date) ? 0 : date - clock.wall(), at: clock.now() };
    return known;
  };

  const lookAtCa = async (
    signal: AbortSignal,
  ): Promise<{ findings: Finding[]; identities: readonly string[] }> => {
    try {
      const { skewMs, identities } = await directory(signal);
      const seconds = Math.round(Math.abs(skewMs) / 1000);
      const findings = [
        good("ca", `${new URL(config.directory).host} answers`),
        Math.abs(skewMs) > MOST_SKEW_MS
          ? bad(
              "clock",
              `this machine's clock is ${seconds} s ${skewMs > 0 ? "behind" : "ahead of"} the CA's`,
              {
                fix: "set the clock (timedatectl set-ntp true)",
              },
            )
          : good("clock", `${seconds} s from the CA's`),
      ];
      return { findings, identities };
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      const fix = "let this machine reach the CA by HTTPS";
      return { findings: [bad("ca", messageOf(thrown), { fix })], identities: [] };
    }
  };

  const lookAtCaa = async (
    host: string,
    identities: readonly string[],
    { accountUrl }: Applicant,
    signal: AbortSignal,
  ): Promise<Finding> => {
    const name = host.replace(/^\*\./, "");
    try {
      const policy = await findCaa(name, dns, signal);
      // A CA that does not say what it is called (a private one) minds no CAA.
      if (identities.length === 0) return good("caa", "the CA names no identity to compare with");
      const wish = { wildcard: host.startsWith("*."), identities, accountUrl, methods: types };
      const refusal = caaRefusal(policy, wish);
      if (refusal === undefined)
        return good(
          "caa",
          policy.name ? `${policy.name} allows ${identities[0]}` : "no records: every CA may issue",
        );
      const [message = "", fix] = refusal.split(/: (?=add |set )/);
      return bad("caa", message, { certain: true, fix });
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      return bad("caa", `its CAA records cannot be looked up, and a CA refuses then: ${messageOf(thrown)}`, {
        fix: `repair the name servers of ${name}`,
      });
    }
  };

  const lookAtAddresses = async (
    host: string,
    applicant: Applicant,
    signal: AbortSignal,
  ): Promise<Finding[]> => {
    let addresses: readonly string[];
    try {
      addresses = await dns.addresses(host, signal);
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      return [
        bad("dns", `${host} cannot be resolved: ${messageOf(thrown)}`, { fix: "repair its name servers" }),
      ];
    }
    if (addresses.length === 0) {
      const fix = `add an A record (IPv4) or AAAA record (IPv6) for ${host} with this edge's public address`;
      return [bad("dns", `${host} has no address`, { certain: true, fix })];
    }
    const findings = [good("dns", `${host} is ${addresses.join(", ")}`)];
    if (!types.includes("http-01") || applicant.thumbprint === undefined) return findings;
    const { thumbprint } = applicant;
    const seen = await Promise.all(
      addresses.map(async (address): Promise<Finding> => {
        const why = await askReach({ host, address, port: httpPort, thumbprint, clock, signal });
        const where = isIP(address) === 6 ? `[${address}]:${httpPort}` : `${address}:${httpPort}`;
        if (why === undefined) return good("port 80", `this edge answers at ${where}`);
        const record = isIP(address) === 6 ? "AAAA" : "A";
        const fix = `open port ${httpPort} to this edge, or let the ${record} record of ${host} not say ${address}`;
        return bad("port 80", `${where}: ${why}`, { fix });
      }),
    );
    return [...findings, ...seen];
  };

  const look = async (host: string, applicant: Applicant, signal: AbortSignal): Promise<Finding[]> => {
    const { findings, identities } = await lookAtCa(signal);
    const byAddress = types.includes("http-01") || types.includes("tls-alpn-01");
    const [caa, addresses] = await Promise.all([
      lookAtCaa(host, identities, applicant, signal),
      byAddress && !host.startsWith("*.") ? lookAtAddresses(host, applicant, signal) : [],
    ]);
    return [...findings, ...addresses, caa];
  };

  return {
    look,
    async check(host, applicant, signal) {
      const all = await look(host, applicant, signal);
      // Whether the CA is there is found out by the order itself, which knows whom to ask instead.
      const wrong = all.filter(({ ok, check }) => !ok && check !== "ca");
      if (wrong.length === 0) {
        delays.delete(host);
        return;
      }
      const words = wrong.map(({ message, fix }) => (fix ? `${message}; ${fix}` : message)).join(". ");
      const so = delays.get(host) ?? 0;
      if (!wrong.some(({ certain }) => certain) && so >= MOST_DELAYS) {
        delays.delete(host);
        log.warn("preflight.ignored", { host, message: words });
        return;
      }
      delays.set(host, so + 1);
      throw new EdgeError("PREFLIGHT_FAILED", `${host}: the CA would refuse: ${words}`, {
        // Another CA may be the one that the name's CAA records allow.
        source: wrong.every(({ check, certain }) => check === "caa" && certain) ? "ca" : "operator",
        retry: "any",
      });
    },
  };
}

function good(check: CheckName, message: string): Finding {
  return { check, ok: true, certain: true, message };
}

function bad(
  check: CheckName,
  message: string,
  more: { certain?: boolean; fix?: string | undefined },
): Finding {
  return { check, ok: false, certain: more.certain ?? false, message, fix: more.fix };
}

/** RFC 6761, RFC 6762, RFC 8375 and ICANN's "internal". */
const PRIVATE_NAME = /(^|\.)(localhost|local|internal|test|invalid|example|home\.arpa)$/;

/** Whether a CA is one of the Internet's: one on a private address or name validates in a network of its own. */
export function isPublicDirectory(directory: string): boolean {
  const host = new URL(directory).hostname.replace(/^\[(.*)\]$/, "$1");
  if (isIP(host)) return ipaddr.process(host).range() === "unicast";
  return host.includes(".") && !PRIVATE_NAME.test(host);
}
