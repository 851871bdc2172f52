/** TXT records by dynamic update (RFC 2136), signed where a key is given. */
import { randomInt } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { AcmeDnsConfig } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import type { DnsProvider } from "./dns-challenge.ts";
import { createDnsClient } from "./dns-client.ts";
import {
  CLASS,
  type DnsRecord,
  decodeMessage,
  encodeMessage,
  OPCODE,
  RCODE_NAMES,
  TYPE,
} from "./dns-message.ts";
import { parentOf, textData } from "./dns-records.ts";
import { type Ask, ask, dnsFailed } from "./dns-wire.ts";
import { signMessage, verifyAnswer } from "./tsig.ts";

export type Rfc2136Config = Extract<AcmeDnsConfig, { kind: "rfc2136" }>;

/** Seconds: nobody but the CA asks, and it ought to see the next value soon. */
const TTL_S = 60;

const ADVICE: Readonly<Record<string, string>> = {
  REFUSED: "let the key change this zone (Knot: acl with action update; BIND: update-policy)",
  NOTAUTH: "it is not the primary of this zone, or does not know the key",
  NOTZONE: "set acme.dns.zone to the zone that holds the name",
  NOTIMP: "it takes no dynamic updates",
};

export function createRfc2136(
  { server, zone, key }: Rfc2136Config,
  clock: Clock,
  send: Ask = ask,
): DnsProvider {
  const client = createDnsClient({ clock, servers: [server], ask: send });

  /** The longest name above `name` at which the server has a SOA. */
  const zoneOf = async (name: string, signal: AbortSignal): Promise<string> => {
    if (zone !== undefined) return zone;
    for (let top = parentOf(name); top !== ""; top = parentOf(top)) {
      const { records } = await client.queryAt(server, top, TYPE.SOA, signal).catch((thrown: unknown) => {
        // A server that refuses names outside of its zones: the zone may still be further up.
        if (signal.aborted || !(thrown instanceof EdgeError) || !/REFUSED|NOTAUTH/.test(thrown.message))
          throw thrown;
        return { records: [] };
      });
      if (records.length > 0) return top;
    }
    throw dnsFailed(`${server.host}:${server.port} holds no zone for ${name}: set acme.dns.zone`);
  };

  const update = async (change: DnsRecord, signal: AbortSignal): Promise<void> => {
    const apex = await zoneOf(change.name, signal);
    const message = {
      id: randomInt(65_536),
      opcode: OPCODE.UPDATE,
      rcode: 0,
      response: false,
      authoritative: false,
      truncated: false,
      recursionDesired: false,
      questions: [{ name: apex, type: TYPE.SOA, class: CLASS.IN }],
      answers: [],
      authorities: [change],
      additionals: [],
    };
    const signed = key && signMessage(message, key, clock.wall());
    const bytes = await send({ server, message: signed?.bytes ?? encodeMessage(message), clock, signal });
    const answer = decodeMessage(bytes);
    const isSigned = answer.additionals.at(-1)?.type === TYPE.TSIG;
    // A refusal may come unsigned (RFC 8945 §5.2); a consent must not.
    if (key && signed && (isSigned || answer.rcode === 0)) verifyAnswer(bytes, key, signed.mac, clock.wall());
    if (answer.rcode === 0) return;
    const word = RCODE_NAMES[answer.rcode] ?? `rcode ${answer.rcode}`;
    const advice = ADVICE[word];
    throw dnsFailed(
      `${server.host}:${server.port} refuses to change ${change.name} in ${apex}: ${word}${advice ? `: ${advice}` : ""}`,
    );
  };

  return {
    present: (name, value, signal) =>
      update({ name, type: TYPE.TXT, class: CLASS.IN, ttl: TTL_S, data: textData(value) }, signal),
    // RFC 2136 §2.5.4: just this record of the set.
    remove: (name, value, signal) =>
      update({ name, type: TYPE.TXT, class: CLASS.NONE, ttl: 0, data: textData(value) }, signal),
  };
}
