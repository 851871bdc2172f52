/** DNS-01 (RFC 8555 §8.4): a TXT record, which is how a wildcard is proved. */
import { createHash } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { AcmeDnsConfig } from "../config/config.ts";
import { EdgeError, errorFields, messageOf } from "../errors.ts";
import type { Log } from "../log.ts";
import { createCloudflare } from "./cloudflare.ts";
import type { DnsClient } from "./dns-client.ts";
import { TYPE } from "./dns-message.ts";
import { awaitRecord } from "./propagation.ts";
import { createRfc2136 } from "./rfc2136.ts";
import type { Solver } from "./validate.ts";

/**
 * Changes DNS. Implementers MUST leave other TXT records of the name alone (a name and its wildcard are proved by two at
 * once), take it well when a record is there already, or gone, and throw EdgeError without any secret in it.
 */
export interface DnsProvider {
  present(name: string, value: string, signal: AbortSignal): Promise<void>;
  remove(name: string, value: string, signal: AbortSignal): Promise<void>;
}

export interface DnsSolverOptions {
  readonly provider: DnsProvider;
  readonly dns: DnsClient;
  readonly clock: Clock;
  readonly log: Log;
  /** For the record to be at every name server. @default 120_000 */
  readonly timeoutMs?: number;
  /** @default 2_000 */
  readonly intervalMs?: number;
}

/** Not the order's: a record is taken away after an order was aborted, too. */
const REMOVE_TIMEOUT_MS = 30_000;

export function dnsSolver(options: DnsSolverOptions): Solver {
  const { provider, dns, clock, log } = options;
  return {
    type: "dns-01",
    fits: ({ type }) => type === "dns",
    async present({ name, keyAuthorization }, signal) {
      const value = createHash("sha256").update(keyAuthorization).digest("base64url");
      // Many delegate just this name to a zone that may be changed, by a CNAME.
      const { canonical } = await dns.query(`_acme-challenge.${name}`, TYPE.TXT, signal);
      const takeAway = async (): Promise<void> => {
        const bound = new AbortController();
        const timer = clock.after(REMOVE_TIMEOUT_MS, () => bound.abort(new Error("it took too long")));
        try {
          await provider.remove(canonical, value, bound.signal);
        } catch (thrown) {
          // The certificate is there all the same; somebody may want to tidy up.
          log.warn("challenge.record_left", { record: canonical, ...errorFields(thrown) });
        } finally {
          timer.cancel();
        }
      };
      try {
        await provider.present(canonical, value, signal);
        await awaitRecord(canonical, value, options, signal);
      } catch (thrown) {
        await takeAway();
        throw thrown;
      }
      return takeAway;
    },
  };
}

export function dnsProvider(config: AcmeDnsConfig, clock: Clock): DnsProvider {
  switch (config.kind) {
    case "hook": {
      const { hook } = config;
      return {
        present: (name, value, signal) => hooked(() => hook.present(name, value), "present", signal),
        remove: (name, value, signal) => hooked(() => hook.remove(name, value), "remove", signal),
      };
    }
    case "rfc2136":
      return createRfc2136(config, clock);
    case "cloudflare":
      return createCloudflare(config);
    default:
      return config satisfies never;
  }
}

/** The operator's code: it may throw anything, and never end. */
async function hooked(run: () => Promise<void> | void, which: string, signal: AbortSignal): Promise<void> {
  let stop = (): void => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    signal.throwIfAborted();
    await Promise.race([run(), aborted]);
  } catch (cause) {
    if (signal.aborted) throw signal.reason;
    throw new EdgeError("DNS_FAILED", `acme.dns.${which} failed: ${messageOf(cause)}`, {
      source: "operator",
      retry: "any",
      cause,
    });
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
