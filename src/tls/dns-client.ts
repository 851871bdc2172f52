/** Questions to DNS: to recursive servers, and to a zone's own. */
import { randomInt } from "node:crypto";
import { getServers } from "node:dns";
import type { Clock } from "../clock.ts";
import type { ListenAddress } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import {
  CLASS,
  type DecodedMessage,
  type DnsRecord,
  decodeMessage,
  encodeMessage,
  OPCODE,
  RCODE_NAMES,
  TYPE,
} from "./dns-message.ts";
import { addressOf, EDNS, parentOf, targetOf } from "./dns-records.ts";
import { type Ask, ask, dnsFailed } from "./dns-wire.ts";

export interface DnsAnswer {
  /** NXDOMAIN: there is no such name. */
  readonly missing: boolean;
  /** Of the type that was asked for, after aliases. */
  readonly records: readonly DnsRecord[];
  /** Where aliases led to; the name itself where there are none. */
  readonly canonical: string;
}

export interface Zone {
  /** The zone's top: where its SOA is. */
  readonly name: string;
  readonly servers: readonly NameServer[];
}

export interface NameServer {
  readonly name: string;
  readonly address: ListenAddress;
}

export interface DnsClient {
  /** Asks the recursive servers, the next where one fails. Rejects with DNS_FAILED. */
  query(name: string, type: number, signal: AbortSignal): Promise<DnsAnswer>;
  /** Asks one server that has the zone itself. */
  queryAt(server: ListenAddress, name: string, type: number, signal: AbortSignal): Promise<DnsAnswer>;
  /** The zone that `name` lies in, with every address of every name server of it. */
  zoneOf(name: string, signal: AbortSignal): Promise<Zone>;
  /** A and AAAA. */
  addresses(name: string, signal: AbortSignal): Promise<readonly string[]>;
}

export interface DnsClientOptions {
  readonly clock: Clock;
  /** Recursive servers. A zone's own server that is listed here is asked at the port given here. @default the system's */
  readonly servers?: readonly ListenAddress[] | undefined;
  readonly timeoutMs?: number;
  readonly ask?: Ask;
}

/** More aliases in a row than any zone that works has. */
const MOST_ALIASES = 10;

export function createDnsClient(options: DnsClientOptions): DnsClient {
  const { clock, timeoutMs } = options;
  const send = options.ask ?? ask;
  const servers = (): readonly ListenAddress[] => options.servers ?? systemServers();

  const portOf = (host: string): number => servers().find((known) => known.host === host)?.port ?? 53;

  const exchange = async (
    server: ListenAddress,
    question: { name: string; type: number },
    recursion: boolean,
    signal: AbortSignal,
  ): Promise<DnsAnswer> => {
    const message = encodeMessage({
      id: randomInt(65_536),
      opcode: OPCODE.QUERY,
      rcode: 0,
      response: false,
      authoritative: false,
      truncated: false,
      recursionDesired: recursion,
      questions: [{ ...question, class: CLASS.IN }],
      answers: [],
      authorities: [],
      additionals: [EDNS],
    });
    const bytes = await send({
      server,
      message,
      clock,
      signal,
      ...(timeoutMs !== undefined && { timeoutMs }),
    });
    return read(decodeMessage(bytes), question, server);
  };

  const query = async (name: string, type: number, signal: AbortSignal): Promise<DnsAnswer> => {
    let last: unknown = dnsFailed("no name server is configured: set acme.dnsServers");
    for (const server of servers()) {
      try {
        return await exchange(server, { name, type }, true, signal);
      } catch (thrown) {
        if (signal.aborted || !(thrown instanceof EdgeError)) throw thrown;
        last = thrown;
      }
    }
    throw last;
  };

  const addresses = async (name: string, signal: AbortSignal): Promise<string[]> => {
    const [four, six] = await Promise.all([query(name, TYPE.A, signal), query(name, TYPE.AAAA, signal)]);
    return [...four.records, ...six.records].map(addressOf);
  };

  return {
    query,
    queryAt: (server, name, type, signal) => exchange(server, { name, type }, false, signal),
    addresses,
    async zoneOf(name, signal) {
      for (let top = name; top !== ""; top = parentOf(top)) {
        const { records, canonical } = await query(top, TYPE.SOA, signal);
        // The SOA behind an alias is that of another zone.
        if (records.length === 0 || canonical !== top) continue;
        const { records: delegations } = await query(top, TYPE.NS, signal);
        const names = delegations.map(targetOf);
        const found = await Promise.all(
          names.map(async (server) => {
            const hosts = await addresses(server, signal);
            return hosts.map((host) => ({ name: server, address: { host, port: portOf(host) } }));
          }),
        );
        return { name: top, servers: found.flat() };
      }
      throw dnsFailed(`no zone is found for ${name}`);
    },
  };
}

function read(
  message: DecodedMessage,
  { name, type }: { name: string; type: number },
  server: ListenAddress,
): DnsAnswer {
  const { rcode, answers } = message;
  if (rcode !== 0 && rcode !== 3) {
    throw dnsFailed(
      `the name server ${server.host}:${server.port} answers ${RCODE_NAMES[rcode] ?? `rcode ${rcode}`} for ${name}`,
    );
  }
  let canonical = name.toLowerCase();
  for (let hop = 0; hop < MOST_ALIASES; hop++) {
    const alias = answers.find((record) => record.type === TYPE.CNAME && record.name === canonical);
    if (!alias || type === TYPE.CNAME) break;
    canonical = targetOf(alias);
  }
  const records = answers.filter((record) => record.type === type && record.name === canonical);
  return { missing: rcode === 3, records, canonical };
}

function systemServers(): ListenAddress[] {
  const unique = new Set(getServers());
  return [...unique].map((text) => {
    const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(text);
    const host = match?.[1] ?? match?.[2] ?? text;
    return { host, port: match?.[3] === undefined ? 53 : Number(match[3]) };
  });
}
