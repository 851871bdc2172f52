/** One request as middleware, the proxy and the access log know it. Fields that cost something are made when asked for. */
import { randomBytes } from "node:crypto";
import type { RequestContext } from "../exchange/context.ts";
import type { ClientCertificate, Exchange } from "../exchange/exchange.ts";
import { getHeader } from "../exchange/headers.ts";
import type { RequestTrace } from "../exchange/trace.ts";
import type { Proxying } from "./proxying.ts";
import { clientAddress, type Trust } from "./trust.ts";

/** Unique over restarts and edges by its random start; a counter behind it is cheaper than fresh randomness each time. */
const idPrefix = randomBytes(6).toString("hex");
let counter = 0;

const TRUSTED_ID = /^[\w.:+/=-]{1,128}$/;

export class EdgeRequest implements RequestContext {
  readonly exchange: Exchange;
  readonly host: string;
  readonly location: string;
  readonly startedAt: number;
  /** How handlers reach the backends of the edge that this request came in by. */
  readonly proxying: Proxying;
  /** The host in metrics. */
  readonly label: string;
  readonly #trust: Trust;
  #requestId: string | undefined;
  #clientAddress: string | undefined;
  #peerTrusted: boolean | undefined;
  server: string | undefined = undefined;
  backend: string | undefined = undefined;
  attempts = 0;
  upstreamMs: number | undefined = undefined;
  error: unknown = undefined;
  trace: RequestTrace | undefined = undefined;

  constructor(
    exchange: Exchange,
    host: string,
    location: string,
    startedAt: number,
    trust: Trust,
    proxying: Proxying,
    label: string = host,
  ) {
    this.exchange = exchange;
    this.host = host;
    this.location = location;
    this.startedAt = startedAt;
    this.#trust = trust;
    this.proxying = proxying;
    this.label = label;
  }

  get peerTrusted(): boolean {
    this.#peerTrusted ??= this.#trust(this.exchange.connection.remoteAddress);
    return this.#peerTrusted;
  }

  get requestId(): string {
    if (this.#requestId === undefined) {
      const given = this.peerTrusted ? getHeader(this.exchange.head.headers, "x-request-id") : undefined;
      this.#requestId =
        given !== undefined && TRUSTED_ID.test(given) ? given : `${idPrefix}-${(++counter).toString(36)}`;
    }
    return this.#requestId;
  }

  get clientAddress(): string {
    this.#clientAddress ??= this.peerTrusted
      ? clientAddress(this.exchange.head, this.exchange.connection, this.#trust)
      : this.exchange.connection.remoteAddress;
    return this.#clientAddress;
  }

  get clientCertificate(): ClientCertificate | undefined {
    return this.exchange.connection.tls?.clientAuth?.certificate;
  }

  get tlsVersion(): string | undefined {
    return this.exchange.connection.tls?.version;
  }
}
