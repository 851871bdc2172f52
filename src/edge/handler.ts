/** Every request of the secure listener passes here: host → app → answer, with its count and its log line. */
import type { Clock } from "../clock.ts";
import { EdgeError, errorFields } from "../errors.ts";
import type { Exchange } from "../exchange/exchange.ts";
import type { AttemptTrace } from "../exchange/trace.ts";
import { lazyRequest, setRequestContext } from "../exchange/web-request.ts";
import type { Log } from "../log.ts";
import type { Metrics, Observer } from "../metrics.ts";
import { type Explaining, withAttempts } from "./explain.ts";
import type { Proxying } from "./proxying.ts";
import { EdgeRequest } from "./request-context.ts";
import { clientAuthError } from "./route-auth.ts";
import { hostOf, type RouteTable } from "./routes.ts";
import type { Trust } from "./trust.ts";

export interface HandlerOptions {
  readonly routes: () => RouteTable;
  readonly trust: () => Trust;
  readonly location: string;
  readonly proxying: Proxying;
  readonly accessLog: () => boolean;
  /** @default nothing is written down */
  readonly explain?: Explaining;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** Writes a response to the exchange, whichever kind of Response it is, and splices an accepted upgrade. */
  send(exchange: Exchange, response: Response): void;
  /** Answers with the error's status as a problem document. */
  fail(exchange: Exchange, error: EdgeError, context: EdgeRequest): void;
}

const DURATION_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** The hot path adds numbers; labels are resolved when somebody looks. */
interface HostCounts {
  /** Since the last look at the metrics. */
  readonly byStatus: number[];
  readonly duration: Observer;
}

/** Makes the function that answers exchanges. */
export function createHandler(options: HandlerOptions): (exchange: Exchange) => void {
  const { clock, log, metrics, explain } = options;
  const counts = new Map<string, HostCounts>();
  metrics.counter(
    "skerry_requests_total",
    "Requests answered, by host and status.",
    ["host", "status"],
    (counter) => {
      // Holes in the array are statuses that were never answered with.
      for (const [host, { byStatus }] of counts)
        byStatus.forEach((count, status) => {
          counter.labels(host, String(status)).inc(count);
          byStatus[status] = 0;
        });
    },
  );
  const durations = metrics.histogram(
    "skerry_request_duration_seconds",
    "From the request's head to the last byte of its answer, by host.",
    ["host"],
    DURATION_BUCKETS,
  );
  let inFlight = 0;
  metrics.gauge("skerry_requests_in_flight", "Requests that are not fully answered.", [], (gauge) =>
    gauge.set(inFlight),
  );
  const countsOf = (host: string): HostCounts => {
    let known = counts.get(host);
    if (!known) {
      known = { byStatus: [], duration: durations.labels(host) };
      counts.set(host, known);
    }
    return known;
  };

  const ended = (request: EdgeRequest, error: EdgeError | undefined): void => {
    inFlight--;
    const { exchange, label } = request;
    const tookMs = clock.now() - request.startedAt;
    // 499 is nginx's word for a client that left before it was answered.
    const status = exchange.status || (error ? 499 : 0);
    const known = countsOf(label);
    known.byStatus[status] = (known.byStatus[status] ?? 0) + 1;
    known.duration.observe(tookMs / 1000);
    const attempts = request.trace && explain?.end(request, status, tookMs, error);
    if (options.accessLog()) log.info("request", accessFields(request, status, tookMs, error, attempts));
  };

  const failed = (request: EdgeRequest, thrown: unknown): void => {
    const error =
      thrown instanceof EdgeError
        ? thrown
        : new EdgeError("INTERNAL", "the request could not be answered", { cause: thrown });
    request.error = error;
    if (error.status >= 500 && error.source !== "upstream")
      log.error("request.failed", {
        id: request.requestId,
        host: request.host,
        ...errorFields(error),
        ...(error.cause instanceof Error && { stack: error.cause.stack }),
      });
    const { exchange } = request;
    if (exchange.answered) exchange.reset(error);
    else options.fail(exchange, error, request);
  };

  const send = (request: EdgeRequest, response: Response): void => {
    try {
      const told =
        request.attempts > 0 && request.peerTrusted ? withAttempts(response, request, clock.now()) : response;
      options.send(request.exchange, told);
    } catch (thrown) {
      failed(request, thrown);
    }
  };

  return (exchange) => {
    const { authority } = exchange.head;
    const route = options.routes().find(authority);
    // Unknown names share one label: visitors choose them, and must not choose how many series there are.
    const request = new EdgeRequest(
      exchange,
      route ? route.host : "",
      options.location,
      clock.now(),
      options.trust(),
      options.proxying,
      route?.label,
    );
    explain?.begin(request);
    inFlight++;
    exchange.onClose((error) => ended(request, error));
    if (!route) {
      const name = hostOf(authority);
      return failed(
        request,
        new EdgeError("UNKNOWN_HOST", `no host "${name}" is configured`, {
          source: "downstream",
          status: 421,
        }),
      );
    }
    const stranger = clientAuthError(route, exchange);
    if (stranger) return failed(request, stranger);
    try {
      const webRequest = lazyRequest(exchange);
      setRequestContext(webRequest, request);
      const answer = route.app.fetch(webRequest);
      if (answer instanceof Promise)
        answer.then(
          (response) => send(request, response),
          (thrown) => failed(request, thrown),
        );
      else send(request, answer);
    } catch (thrown) {
      failed(request, thrown);
    }
  };
}

function accessFields(
  request: EdgeRequest,
  status: number,
  tookMs: number,
  error: EdgeError | undefined,
  attempts: readonly AttemptTrace[] | undefined,
): Record<string, unknown> {
  const { exchange } = request;
  const { head, connection } = exchange;
  const reason = error ?? request.error;
  return {
    id: request.requestId,
    client: request.clientAddress,
    method: head.method,
    host: request.host || hostOf(head.authority),
    path: head.path,
    status,
    bytes: exchange.bytesSent,
    ms: round(tookMs),
    protocol: exchange.version,
    ...(connection.tls && { tls: connection.tls.version }),
    ...(request.backend !== undefined && { backend: request.backend }),
    ...(request.server !== undefined && { server: request.server, attempts: request.attempts }),
    ...(request.upstreamMs !== undefined && { upstreamMs: round(request.upstreamMs) }),
    ...(reason instanceof EdgeError && { code: reason.code, reason: reason.message }),
    ...(attempts && { explain: attempts }),
  };
}

function round(milliseconds: number): number {
  return Math.round(milliseconds * 100) / 100;
}
