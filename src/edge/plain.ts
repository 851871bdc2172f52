/** Port 80: answers ACME challenges, and sends everything else to HTTPS (308 keeps the method and body). */
import type { Clock } from "../clock.ts";
import type { ListenAddress } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import { type Exchange, type ResponseHead, responseHead } from "../exchange/exchange.ts";
import { CHALLENGE_PREFIX, type HttpChallenge } from "../tls/challenge.ts";
import { REACH_PREFIX } from "../tls/reach.ts";
import { hostOf } from "./routes.ts";

export interface PlainOptions {
  hasHost(host: string): boolean;
  /** The answer to a challenge's path, or undefined when it is none of ours. */
  challenge(path: string): Promise<string | undefined>;
  /** The answer to a look whether a name leads here, or undefined while no account is known. */
  reach(path: string): string | undefined;
  readonly https: () => ListenAddress;
  fail(exchange: Exchange, error: EdgeError): void;
}

/**
 * Where a browser finds HTTPS. A Host with a port means that the client sees our ports as they are, so ours is added;
 * without one it came through port 80, maybe mapped, and 443 is where the public expects HTTPS.
 */
function httpsAuthority(authority: string, https: ListenAddress): string {
  const host = hostOf(authority);
  const visiblePort = /:\d+$/.test(authority);
  return visiblePort && https.port !== 443 ? `${host}:${https.port}` : host;
}

function text(status: number, contentType: string, extra: string[] = []): ResponseHead {
  return responseHead(status, ["Content-Type", contentType, ...extra]);
}

/** An edge that starts in the middle of a peer's order knows the account within this; CAs' validators wait some ten seconds. */
const CHALLENGE_WAIT_MS = 3000;

/** The answer to a challenge, waited for where the account is yet to be known or the token is to be looked up. */
export async function answerChallenge(
  challenge: HttpChallenge,
  path: string,
  clock: Clock,
): Promise<string | undefined> {
  const stop = new AbortController();
  const timer = clock.after(CHALLENGE_WAIT_MS, () => stop.abort());
  try {
    return await challenge.answerSoon(path, stop.signal);
  } finally {
    timer.cancel();
  }
}

export function createPlainHandler(options: PlainOptions): (exchange: Exchange) => void {
  return (exchange) => {
    const { path } = exchange.head;
    if (path.startsWith(CHALLENGE_PREFIX)) {
      options.challenge(path).then(
        (answer) => {
          // Who asked may have left in the meantime.
          if (exchange.closed) return;
          if (answer === undefined) redirect(exchange);
          else exchange.respond(text(200, "application/octet-stream"), Buffer.from(answer, "latin1"));
        },
        (cause: unknown) => {
          if (exchange.closed) return;
          options.fail(exchange, new EdgeError("INTERNAL", "the challenge could not be answered", { cause }));
        },
      );
      return;
    }
    const reached = path.startsWith(REACH_PREFIX) ? options.reach(path) : undefined;
    if (reached === undefined) redirect(exchange);
    else exchange.respond(text(200, "text/plain; charset=utf-8"), Buffer.from(reached, "latin1"));
  };

  function redirect(exchange: Exchange): void {
    const { authority, path } = exchange.head;
    if (!options.hasHost(hostOf(authority))) {
      const error = new EdgeError("UNKNOWN_HOST", `no host "${hostOf(authority)}" is configured`, {
        source: "downstream",
        status: 421,
      });
      options.fail(exchange, error);
      return;
    }
    const target = path === "*" ? "/" : path;
    const location = `https://${httpsAuthority(authority, options.https())}${target}`;
    exchange.respond(
      text(308, "text/plain; charset=utf-8", ["Location", location]),
      Buffer.from("Use HTTPS.\n"),
    );
  }
}
