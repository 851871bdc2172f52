/** Errors as visitors see them: a problem document (RFC 9457) for programs, a small page for people. No secrets, no innards. */
import type { EdgeError, ErrorCode } from "../errors.ts";
import type { RequestContext } from "../exchange/context.ts";
import { type Exchange, type ResponseHead, responseHead } from "../exchange/exchange.ts";
import { joinHeader } from "../exchange/headers.ts";

/** Seconds after which a client may try again what is out of service now. */
const RETRY_AFTER_S = 5;

const TITLES: Record<number, string> = {
  400: "Bad request",
  403: "Forbidden",
  404: "Not found",
  405: "Method not allowed",
  408: "Request timeout",
  413: "Content too large",
  414: "URI too long",
  421: "Misdirected request",
  429: "Too many requests",
  431: "Request header fields too large",
  499: "Client closed request",
  500: "Internal server error",
  501: "Not implemented",
  502: "Bad gateway",
  503: "Service unavailable",
  504: "Gateway timeout",
  505: "HTTP version not supported",
  508: "Loop detected",
};

/** What happened, for people. The error's own message may name servers and is for the log. */
const DETAILS: Partial<Record<ErrorCode, string>> = {
  BAD_REQUEST: "The request could not be understood.",
  LIMIT_EXCEEDED: "The request is larger than this site accepts.",
  CLIENT_TIMEOUT: "The request did not arrive in time.",
  UNKNOWN_HOST: "No site of this name is served here.",
  NO_BACKEND: "This site has nowhere to send the request yet.",
  NO_SERVER: "No server of this site is running right now. Please try again shortly.",
  UPSTREAM_BUSY: "Every server of this site is busy right now. Please try again shortly.",
  UPSTREAM_CONNECT: "The site's server could not be reached. Please try again shortly.",
  UPSTREAM_REFUSED: "The site's server is not taking requests right now. Please try again shortly.",
  UPSTREAM_RESET: "The site's server broke off before it answered.",
  UPSTREAM_PROTOCOL: "The site's server gave an answer that could not be understood.",
  UPSTREAM_TIMEOUT: "The site's server took too long to answer.",
  SHUTTING_DOWN: "This edge is shutting down. Please try again.",
};

export interface Problem {
  readonly head: ResponseHead;
  readonly body: Uint8Array;
}

/** What of the request shapes its answer. */
export interface ProblemRequest {
  /** The Accept field, all lines joined. */
  readonly accept?: string | undefined;
  /** Said to the client, so that a report of it can be found in the log. */
  readonly requestId?: string | undefined;
}

/** The q-value that Accept gives to `type`, by its most specific range (RFC 9110 §12.5.1). */
function quality(accept: string, type: string): number {
  const [group] = type.split("/");
  let best = 0;
  let bestRank = 0;
  for (const range of accept.split(",")) {
    const [name, ...parameters] = range
      .trim()
      .toLowerCase()
      .split(/\s*;\s*/);
    const rank = name === type ? 3 : name === `${group}/*` ? 2 : name === "*/*" ? 1 : 0;
    if (rank <= bestRank) continue;
    bestRank = rank;
    const q = parameters.find((parameter) => parameter.startsWith("q="));
    best = q === undefined ? 1 : Math.min(Math.max(Number(q.slice(2)) || 0, 0), 1);
  }
  return best;
}

/** Whether the client names HTML and likes it at least as much as JSON: browsers do, programs do not. */
function prefersHtml(accept: string | undefined): boolean {
  if (!accept || !/text\/html|application\/xhtml/i.test(accept)) return false;
  const json = Math.max(quality(accept, "application/problem+json"), quality(accept, "application/json"));
  const html = quality(accept, "text/html");
  return html > 0 && html >= json;
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

function page(status: number, title: string, detail: string, requestId: string | undefined): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${status} ${escaped(title)}</title>
<style>
:root{color-scheme:light dark;--ink:#17232b;--dim:#5b6b75;--sky:#f3f6f7;--rock:#2f7d8c}
@media (prefers-color-scheme:dark){:root{--ink:#e6edf0;--dim:#93a3ac;--sky:#10181d;--rock:#6fc3d3}}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--sky);color:var(--ink);font:1rem/1.6 system-ui,sans-serif}
main{padding:2rem;max-width:32rem}
b{color:var(--rock);font-size:3rem;line-height:1}
h1{margin:.5rem 0;font-size:1.4rem}
p{margin:.5rem 0}
small{color:var(--dim)}
</style>
<main>
<b>${status}</b>
<h1>${escaped(title)}</h1>
<p>${escaped(detail)}</p>
${requestId === undefined ? "" : `<small>Request <code>${escaped(requestId)}</code></small>\n`}</main>
</html>
`;
}

/** The answer that tells of an error. Never cached; 503 says when to come back. */
export function problem(error: Pick<EdgeError, "code" | "status">, request: ProblemRequest = {}): Problem {
  const status = error.status >= 400 && error.status <= 599 ? error.status : 500;
  const title = TITLES[status] ?? (status < 500 ? "Request failed" : "Server error");
  const detail =
    DETAILS[error.code] ?? (status < 500 ? "The request cannot be served." : "Something went wrong here.");
  const { requestId } = request;
  const html = prefersHtml(request.accept);
  const text = html
    ? page(status, title, detail, requestId)
    : `${JSON.stringify({ type: "about:blank", title, status, detail, code: error.code, requestId })}\n`;
  const body = Buffer.from(text);
  const headers = [
    "Content-Type",
    html ? "text/html; charset=utf-8" : "application/problem+json",
    "Content-Length",
    String(body.length),
    "Cache-Control",
    "no-store",
    "X-Content-Type-Options",
    "nosniff",
  ];
  if (html) headers.push("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'");
  if (status === 503) headers.push("Retry-After", String(RETRY_AFTER_S));
  if (requestId !== undefined) headers.push("X-Request-Id", requestId);
  return { head: responseHead(status, headers), body };
}

/** Answers an exchange with an error; one that was answered already is cut off instead. */
export function failExchange(
  exchange: Exchange,
  error: EdgeError,
  context?: Pick<RequestContext, "requestId">,
): void {
  if (exchange.answered) {
    exchange.reset(error);
    return;
  }
  const accept = joinHeader(exchange.head.headers, "accept");
  const { head, body } = problem(error, { accept, requestId: context?.requestId });
  // The engine sends no body to a HEAD, and the length stays that of the GET.
  exchange.respond(head, body);
}
