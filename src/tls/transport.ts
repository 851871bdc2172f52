/** HTTP for ACME: every call has a bound, can be aborted, trusts what its issuer trusts, and fails with typed facts. */
import http from "node:http";
import https from "node:https";
import type { Clock } from "../clock.ts";
import { EdgeError, messageOf } from "../errors.ts";
import { repeatsRequests } from "../runtime.ts";
import { type AcmeProblem, parseProblem } from "./problem.ts";

export interface AcmeRequest {
  url: string;
  method: string;
  headers?: Record<string, string>;
  /** Sent as JSON. */
  data?: unknown;
  /** Changes something at the CA, and must not do so twice. Signed with a nonce, which a CA takes once (RFC 8555 §6.5). */
  once?: boolean;
}

/** In the shape that acme-client expects of axios. */
export interface AcmeResponse {
  status: number;
  headers: Record<string, string>;
  data: unknown;
}

export interface TransportOptions {
  clock: Clock;
  /** PEM of a private CA that signed the server's certificate. */
  trustedCa: string | undefined;
  /** For one call, from its start to the body's last byte. @default 30_000 */
  timeoutMs?: number;
  /** Told the time that the other side's `Date` gives, as it was when its answer began. */
  onDate?(at: number): void;
}

export type Transport = (request: AcmeRequest, signal: AbortSignal) => Promise<AcmeResponse>;

/** Answers of a CA are small; a chain of certificates is some 10 KiB. */
const MAX_BODY_BYTES = 1 << 20;
const DEFAULT_TIMEOUT_MS = 30_000;
/** Servers and the networks between keep an idle connection for longer than that. */
const IDLE_MS = 15_000;
const MAX_IDLE = 32;
const USER_AGENT = "skerry (acme-client)";

/**
 * Rejects with ACME_UNREACHABLE, ACME_TIMEOUT or ACME_PROBLEM; badNonce is left to the client, which knows what to do, unless
 * it tells that the CA had the request before.
 */
export function createTransport(options: TransportOptions): Transport {
  const { clock, trustedCa, timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const agents = createAgents(trustedCa);
  return async (request, signal) => {
    const { origin } = new URL(request.url);
    const deadline = new AbortController();
    const timer = clock.after(timeoutMs, () => deadline.abort());
    let response: AcmeResponse;
    let repeated: boolean;
    try {
      signal.throwIfAborted();
      ({ response, repeated } = await sendOnce(request, agents, AbortSignal.any([signal, deadline.signal])));
    } catch (cause) {
      if (signal.aborted) throw signal.reason;
      if (deadline.signal.aborted) {
        throw new EdgeError("ACME_TIMEOUT", `${origin} did not answer ${request.url} in ${timeoutMs} ms`, {
          source: "ca",
        });
      }
      throw new EdgeError("ACME_UNREACHABLE", `${origin} cannot be reached: ${reasonOf(cause)}`, {
        source: "ca",
        cause,
      });
    } finally {
      timer.cancel();
    }
    const date = Date.parse(response.headers.date ?? "");
    if (!Number.isNaN(date)) options.onDate?.(date);
    if (response.status >= 400) {
      const problem = parseProblem(response, clock.wall());
      if (problem.type !== "badNonce") throw problemError(origin, problem);
      if (repeated && request.once) throw unanswered(origin, request);
    }
    return response;
  };
}

/** What the runtimes say of a certificate whose issuer nobody here trusts; Node adds advice about flags of its own. */
const UNTRUSTED = /self[- ]signed|first certificate|issuer certificate|unknown ?issuer/i;

function reasonOf(cause: unknown): string {
  const message = messageOf(cause);
  if (!UNTRUSTED.test(message)) return message;
  const said = message.split(";")[0] ?? message;
  return `${said}: set acme.trustedCa to the PEM file of the CA that signed its HTTPS certificate`;
}

function problemError(origin: string, problem: AcmeProblem): EdgeError {
  return new EdgeError("ACME_PROBLEM", `${origin} refused: ${problem.message}`, {
    source: "ca",
    cause: problem,
  });
}

/**
 * The nonce was good when it was sent first, so the CA has used it up and may have done what was asked: another signature
 * with another nonce might make a second order.
 */
function unanswered(origin: string, { url }: AcmeRequest): EdgeError {
  const what = `${origin} closed the connection without an answer to ${url}, and knows the request when it comes again`;
  return new EdgeError("ACME_UNREACHABLE", `${what}: what it made of it is unknown`, { source: "ca" });
}

interface Agents {
  /** Keeps connections for the next call: an order takes some ten calls, and a TLS handshake costs more than any of them. */
  readonly kept: Pair;
  /** A new connection for each call. */
  readonly fresh: Pair;
}

interface Pair {
  readonly secure: https.Agent;
  readonly plain: http.Agent;
}

function createAgents(trustedCa: string | undefined): Agents {
  const pair = (options: http.AgentOptions): Pair => ({
    secure: new https.Agent({ ...options, ...(trustedCa !== undefined && { ca: trustedCa }) }),
    plain: new http.Agent(options),
  });
  return {
    kept: pair({ keepAlive: true, timeout: IDLE_MS, maxFreeSockets: MAX_IDLE, scheduling: "lifo" }),
    fresh: pair({ keepAlive: false }),
  };
}

/** The CA closed a kept connection before it said a word. */
class Stale extends Error {}

/**
 * On a kept connection where there is one. Where the CA had given that up it is sent once more, on a new one: byte for byte
 * the same, so that the nonce keeps a CA that did take it from taking it again.
 */
async function sendOnce(
  request: AcmeRequest,
  agents: Agents,
  signal: AbortSignal,
): Promise<{ response: AcmeResponse; repeated: boolean }> {
  const first = request.once && repeatsRequests ? agents.fresh : agents.kept;
  try {
    return { response: await send(request, first, signal), repeated: false };
  } catch (thrown) {
    if (!(thrown instanceof Stale) || signal.aborted) throw thrown;
    return { response: await send(request, agents.fresh, signal), repeated: true };
  }
}

function send(request: AcmeRequest, { secure, plain }: Pair, signal: AbortSignal): Promise<AcmeResponse> {
  return new Promise((resolve, reject) => {
    const body = request.data === undefined ? undefined : Buffer.from(JSON.stringify(request.data));
    const overTls = request.url.startsWith("https:");
    let answering = false;
    const outgoing = (overTls ? https : http).request(
      request.url,
      {
        method: request.method.toUpperCase(),
        headers: {
          "user-agent": USER_AGENT,
          ...request.headers,
          ...(body && { "content-length": String(body.length) }),
        },
        agent: overTls ? secure : plain,
      },
      (incoming) => {
        answering = true;
        const chunks: Buffer[] = [];
        let size = 0;
        incoming.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > MAX_BODY_BYTES) stop(new Error("its answer is too large"));
          else chunks.push(chunk);
        });
        incoming.on("error", stop);
        incoming.on("aborted", () => stop(new Error("it closed the connection in mid-answer")));
        incoming.on("end", () => {
          signal.removeEventListener("abort", abort);
          const headers: Record<string, string> = {};
          for (const [name, value] of Object.entries(incoming.headers)) {
            if (value !== undefined) headers[name] = Array.isArray(value) ? value.join(", ") : value;
          }
          resolve({
            status: incoming.statusCode ?? 0,
            headers,
            data: parseBody(Buffer.concat(chunks).toString()),
          });
        });
      },
    );
    const stop = (reason: unknown): void => {
      signal.removeEventListener("abort", abort);
      reject(reason);
      outgoing.destroy();
    };
    const abort = (): void => stop(signal.reason);
    outgoing.on("error", (thrown) =>
      stop(outgoing.reusedSocket && !answering ? new Stale(thrown.message, { cause: thrown }) : thrown),
    );
    signal.addEventListener("abort", abort, { once: true });
    outgoing.end(body);
  });
}

/** Objects from JSON, everything else as text: certificates come as PEM. */
function parseBody(text: string): unknown {
  if (!text.trimStart().startsWith("{")) return text;
  try {
    return JSON.parse(text);
  } catch {
    // A proxy's or a broken server's page: the status tells what happened.
    return text;
  }
}
