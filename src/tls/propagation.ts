/** Waits until a record is where a CA will look: at every name server of its zone. */
import { type Clock, sleep } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { DnsClient, NameServer } from "./dns-client.ts";
import { TYPE } from "./dns-message.ts";
import { textOf } from "./dns-records.ts";
import { dnsFailed } from "./dns-wire.ts";

export interface PropagationOptions {
  readonly dns: DnsClient;
  readonly clock: Clock;
  /** @default 120_000 */
  readonly timeoutMs?: number | undefined;
  /** @default 2_000 */
  readonly intervalMs?: number | undefined;
}

const TIMEOUT_MS = 120_000;
const INTERVAL_MS = 2000;

/** Resolves when TXT `value` is at `name`, on every server. Rejects with DNS_FAILED, naming those that lack it. */
export async function awaitRecord(
  name: string,
  value: string,
  { dns, clock, timeoutMs = TIMEOUT_MS, intervalMs = INTERVAL_MS }: PropagationOptions,
  signal: AbortSignal,
): Promise<void> {
  const end = clock.now() + timeoutMs;
  const { servers } = await dns.zoneOf(name, signal);
  for (;;) {
    const lacking = await lackingServers(name, value, servers, dns, signal);
    if (lacking.length === 0) return;
    if (clock.now() + intervalMs > end) {
      throw dnsFailed(
        `${name}: the TXT record is not yet at ${lacking.join(", ")} after ${Math.round(timeoutMs / 1000)} s`,
      );
    }
    await sleep(clock, intervalMs, signal);
  }
}

type State = "there" | "absent" | "unreachable";

async function lackingServers(
  name: string,
  value: string,
  servers: readonly NameServer[],
  dns: DnsClient,
  signal: AbortSignal,
): Promise<string[]> {
  const holds = (records: readonly { data: Uint8Array }[]): boolean =>
    records.some((record) => textOf(record as never) === value);
  const states = await Promise.all(
    servers.map(async ({ name: server, address }): Promise<{ server: string; state: State }> => {
      try {
        const { records } = await dns.queryAt(address, name, TYPE.TXT, signal);
        return { server, state: holds(records) ? "there" : "absent" };
      } catch (thrown) {
        if (signal.aborted || !(thrown instanceof EdgeError)) throw thrown;
        return { server, state: "unreachable" };
      }
    }),
  );
  // A network that lets no DNS out but to its own resolver: then that is all that can be asked.
  if (states.every(({ state }) => state === "unreachable")) {
    return holds((await dns.query(name, TYPE.TXT, signal)).records) ? [] : ["the name servers of its zone"];
  }
  const lacking = new Set<string>();
  for (const { server, state } of states) {
    // One with an address that cannot be reached from here (IPv6 from a network without) is judged by its others.
    const others = states.some((other) => other.server === server && other.state === "there");
    if (state === "absent" || (state === "unreachable" && !others)) lacking.add(server);
  }
  return [...lacking];
}
