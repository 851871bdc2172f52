/**
 * Finding out whether a name leads here, without a CA: who knows the account's key (this edge, or a peer of its fleet)
 * answers a nonce in a way that nobody else does.
 */
import { createHash, randomBytes } from "node:crypto";
import { request } from "node:http";
import { isIPv6 } from "node:net";
import type { Clock } from "../clock.ts";
import { messageOf } from "../errors.ts";

export const REACH_PREFIX = "/.well-known/skerry/";
const NONCE = /^[A-Za-z0-9_-]{22}$/;
const MAX_BYTES = 1024;
const TIMEOUT_MS = 5000;

/** The answer to a path, a line for each account; undefined: it is no such path, or no account is known yet. */
export function reachAnswer(path: string, thumbprints: readonly string[]): string | undefined {
  const nonce = path.slice(REACH_PREFIX.length);
  if (thumbprints.length === 0 || !path.startsWith(REACH_PREFIX) || !NONCE.test(nonce)) return undefined;
  return thumbprints.map((thumbprint) => `${lineFor(nonce, thumbprint)}\n`).join("");
}

/** A digest, so that it tells no thumbprint and answers no challenge. */
function lineFor(nonce: string, thumbprint: string): string {
  return createHash("sha256").update(`skerry reach ${nonce}.${thumbprint}`).digest("base64url");
}

export interface ReachOptions {
  readonly host: string;
  readonly address: string;
  readonly port: number;
  readonly thumbprint: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Undefined where an edge of ours answers at `address` for `host`; otherwise what happened instead. */
export async function askReach(options: ReachOptions): Promise<string | undefined> {
  const { clock, signal, thumbprint } = options;
  const nonce = randomBytes(16).toString("base64url");
  const bound = new AbortController();
  const timer = clock.after(TIMEOUT_MS, () => bound.abort());
  try {
    const { status, body } = await get(
      options,
      REACH_PREFIX + nonce,
      AbortSignal.any([signal, bound.signal]),
    );
    if (body.split("\n").includes(lineFor(nonce, thumbprint))) return undefined;
    return `something else answers there (status ${status})`;
  } catch (thrown) {
    if (signal.aborted) throw signal.reason;
    if (bound.signal.aborted) return `it does not answer within ${TIMEOUT_MS / 1000} s`;
    return `it cannot be reached: ${messageOf(thrown) || "connection refused"}`;
  } finally {
    timer.cancel();
  }
}

function get(
  { host, address, port }: ReachOptions,
  path: string,
  signal: AbortSignal,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const authority = port === 80 ? host : `${host}:${port}`;
    const outgoing = request(
      {
        host: address,
        port,
        path,
        agent: false,
        family: isIPv6(address) ? 6 : 4,
        headers: { host: authority, connection: "close" },
      },
      (incoming) => {
        let body = "";
        incoming.setEncoding("latin1");
        incoming.on("data", (text: string) => {
          body += text;
          if (body.length > MAX_BYTES) end();
        });
        const end = (): void => {
          signal.removeEventListener("abort", abort);
          resolve({ status: incoming.statusCode ?? 0, body });
          outgoing.destroy();
        };
        incoming.on("end", end);
        incoming.on("error", reject);
      },
    );
    const abort = (): void => {
      reject(signal.reason);
      outgoing.destroy();
    };
    outgoing.on("error", reject);
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
    outgoing.end();
  });
}
