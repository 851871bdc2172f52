/** The config as a person writes it: what `defineEdge` takes, and what a JSON file may hold as far as it is not code. */
import type { Hono, MiddlewareHandler } from "hono";
import type { Http2Limits, Limits } from "../exchange/limits.ts";
import type { BalancingInput } from "./balancing.ts";
import type { KeyType } from "./config.ts";
import type { NatsStorageInput } from "./fleet.ts";
import type { LocationInput } from "./location.ts";
import type { ExplainInput, RetryingInput } from "./retrying.ts";
import type { TunnelInput } from "./tunnel.ts";

export interface EdgeConfig extends LocationInput {
  /** For editors: where the output of `skerry config schema` lies. Not read. */
  $schema?: string;
  /** Where the edge listens, each as "host:port". Port 0 asks the system for a free one. */
  listen?: ListenInput;
  /**
   * Where certificates and the ACME account are kept: a folder, "file:…"; or NATS for several edges, "nats://host:port,…" or
   * `{ nats }`. @default "file:./certs" beside the config file
   */
  storage?: string | NatsStorageInput;
  /** The file with the fleet key, where storage is NATS. @default SKERRY_FLEET_KEY in the environment */
  fleetKey?: string;
  /** Who issues certificates for hosts without `tls`. */
  acme?: AcmeInput;
  /** Named groups of servers. */
  backends?: Record<string, BackendInput>;
  /** How names of servers are resolved. */
  dns?: DnsInput;
  /** What the edge serves, by host name. */
  hosts: Record<string, HostInput>;
  /** Customers' host names, which are not known beforehand: allowed one by one when the first visitor comes. */
  onDemand?: OnDemandInput;
  /** How TLS is spoken, and own certificates for any host. */
  tls?: TlsInput;
  /** How wormholes find this edge. */
  tunnel?: TunnelInput;
  /** Addresses or CIDR ranges of proxies in front, whose forwarding headers are believed. @default none */
  trustedProxies?: string[];
  /** Bounds of a downstream connection; what is left out keeps its default. */
  limits?: LimitsInput;
  /** How long requests in flight may take after the edge was told to stop, in milliseconds. @default 30_000 */
  drainTimeoutMs?: number;
  /** Whether to log one line per request. @default true */
  accessLog?: boolean;
  /** Remembers how the servers of each request were picked and what came of it. @default not */
  explain?: ExplainInput;
  /** The least level that is logged. @default "info" */
  logLevel?: "debug" | "info" | "warn" | "error";
}

export interface ListenInput {
  /** Redirects to HTTPS and answers ACME challenges. @default "[::]:80" */
  http?: string;
  /** @default "[::]:443" */
  https?: string;
  /** Health, metrics and status; keep it private. @default "127.0.0.1:9180" */
  admin?: string;
}

export interface AcmeInput {
  /** URL of the CA's directory. @default Let's Encrypt production */
  directory?: string;
  /** PEM file with the certificate that signed the directory's own, where the CA is a private one. */
  trustedCa?: string;
  /** Where the CA may write to. */
  email?: string;
  /** That you read and accept the CA's terms of service. Without it nothing is ordered. */
  agreeToTerms?: boolean;
  /** For CAs that issue to their customers only: both values come from the CA. */
  eab?: EabInput;
  /** A profile that the CA offers, such as "shortlived". @default the CA's own */
  profile?: string;
  /** Common name of an issuer, where the CA offers several chains. @default the CA's first */
  preferredChain?: string;
  /** @default "p256" */
  keyType?: KeyType;
  /** Orders under way at once. @default 4 */
  concurrency?: number;
  /** CAs to turn to, in order, while this one is down or refuses for its limits. */
  fallback?: FallbackInput[];
  /** Answers DNS-01 challenges, which wildcards (`*.example.com`) need. @default none */
  dns?: AcmeDnsInput;
  /** Challenges to use, the first one that fits. @default ["dns-01"] with `dns`, else ["http-01"] */
  challenges?: ("http-01" | "tls-alpn-01" | "dns-01" | "dns-persist-01")[];
  /**
   * Whether DNS, CAA, port 80 and the clock are looked at before an order, so that no attempt is wasted.
   * @default true, but false where the directory is on a private or loopback address
   */
  preflight?: boolean;
  /** Recursive DNS servers for these looks, each an address with or without port. @default the system's */
  dnsServers?: string[];
}

/** Code of your own, or one of the built-in ways to change DNS. */
export type AcmeDnsInput = DnsHook | Rfc2136Input | CloudflareInput;

/** Both are told the record's whole name ("_acme-challenge.example.com") and its text. */
export interface DnsHook {
  /** Adds a TXT record beside those that there are; resolves when the provider has it. */
  present(name: string, value: string): Promise<void> | void;
  /** Removes just that one. */
  remove(name: string, value: string): Promise<void> | void;
}

/** Dynamic update (RFC 2136) of BIND, Knot, PowerDNS and others. */
export interface Rfc2136Input {
  provider: "rfc2136";
  /** The zone's primary, "192.0.2.53" or "192.0.2.53:53". */
  server: string;
  /** @default the one that holds the name, as the server itself says */
  zone?: string;
  /** Signs the updates (TSIG). @default none: the server trusts our address */
  key?: TsigKeyInput;
}

export interface TsigKeyInput {
  name: string;
  /** @default "hmac-sha256" */
  algorithm?: "hmac-sha256" | "hmac-sha384" | "hmac-sha512";
  /** Base64, or "env:NAME" for an environment variable that holds it. */
  secret: string;
}

export interface CloudflareInput {
  provider: "cloudflare";
  /** A file that holds an API token with Zone:Read and DNS:Edit. */
  tokenFile?: string;
  /** "env:NAME": an environment variable that holds it. */
  token?: string;
  /** @default "https://api.cloudflare.com/client/v4" */
  api?: string;
}

export interface EabInput {
  kid: string;
  /** base64url, as the CA shows it. */
  hmacKey: string;
}

export interface FallbackInput
  extends Omit<
    AcmeInput,
    "directory" | "keyType" | "concurrency" | "fallback" | "dns" | "challenges" | "preflight" | "dnsServers"
  > {
  directory: string;
}

export interface BackendInput extends BalancingInput, RetryingInput {
  /**
   * "http://host:port", "https://host:port", "h2c://host:port", "unix:/path.sock" or "srv+http://name", or with a weight.
   * Every address of a name is a server. @default none: servers join by themselves
   */
  servers?: (string | ServerInput)[];
  /** How `https` servers are spoken to. @default verified against the system's authorities */
  tls?: BackendTlsInput;
  /** Active health checks. @default none */
  health?: HealthInput;
  /** @default 1_000 */
  connectTimeoutMs?: number;
  /** From the request's last byte to the response's head; 0 for no bound. @default 60_000 */
  responseTimeoutMs?: number;
  /**
   * How long a server may take no byte of a request's body, or give none of its answer's, before the request fails; 0
   * for no bound. Event streams, gRPC and WebSockets may be silent. @default 300_000
   */
  bodyTimeoutMs?: number;
  /** The whole request, over all attempts, to its answer's last byte; 0 for no bound. @default 0 */
  totalTimeoutMs?: number;
  /** Idle connections kept to each server; 0 for none. @default 64 */
  maxIdleConnections?: number;
  /**
   * How long an idle connection is kept. Shorter than the servers' own keep-alive, so that it is we who close.
   * @default 4_000
   */
  idleTimeoutMs?: number;
}

export interface ServerInput {
  url: string;
  /** Share of the requests relative to the other servers, from 1 to 1000. @default 1 */
  weight?: number;
  /** Where it runs: edges of other locations send it only what their own servers cannot take. @default wherever the edge is */
  location?: string;
}

export interface BackendTlsInput {
  /** PEM file with the authorities to trust instead of the system's. */
  ca?: string;
  /** PEM file with our own certificate and its chain, for servers that ask for one. */
  cert?: string;
  /** PEM file with its key. */
  key?: string;
  /** The name to ask for and to verify, where it is not the server's own. */
  serverName?: string;
  /** Without it anybody on the way can read and change everything. @default true */
  verify?: boolean;
}

export interface DnsInput {
  /** Addresses of DNS servers, with or without port. @default the system's */
  servers?: string[];
  /** A name is not resolved more often, whatever its TTL. @default 1_000 */
  minTtlMs?: number;
  /** Nor less often. @default 60_000 */
  maxTtlMs?: number;
  /** How long the last addresses are used while a name cannot be resolved. @default 300_000 */
  keepStaleMs?: number;
}

export interface HealthInput {
  /** What is asked for. @default "/" */
  path?: string;
  /** Good statuses, such as "200-299,401". @default "200-399" */
  status?: string;
  /** What a good answer's body contains, within its first 64 KiB. @default anything */
  body?: string;
  /** Only connects, and asks for nothing. @default false */
  tcp?: boolean;
  /** Whether a server that joins gets no request before its first good answer. @default false */
  startUnhealthy?: boolean;
  /** @default 10_000 */
  intervalMs?: number;
  /** Below `intervalMs`. @default 2_000 */
  timeoutMs?: number;
  /** Good answers in a row that bring a server back. @default 1 */
  rise?: number;
  /** Bad ones in a row that take it out. @default 3 */
  fall?: number;
}

/** A backend with middleware in front, or a whole Hono app, by itself or as `{ app, tls }`. */
// biome-ignore lint/suspicious/noExplicitAny: an app may be typed with any Env, and Hono's types are invariant in it
export type HostInput = BackendHostInput | AppHostInput | Hono<any, any, any>;

/** What any host may have. */
export interface HostSettingsInput {
  /** Own PEM files instead of ACME. */
  tls?: HostTlsInput;
  /** In place of `acme.profile`. */
  profile?: string;
  /** In place of `acme.keyType`. */
  keyType?: KeyType;
  /** Strict-Transport-Security (RFC 6797) in every answer; true for two years. @default none */
  hsts?: boolean | HstsInput;
  /** Asks clients for a certificate (mutual TLS). */
  clientAuth?: ClientAuthInput;
}

export interface BackendHostInput extends HostSettingsInput {
  /** A name from `backends`. */
  backend: string;
  /** Hono middleware, the first one outermost. */
  // biome-ignore lint/suspicious/noExplicitAny: middleware may be typed with any Env
  use?: MiddlewareHandler<any>[];
}

export interface AppHostInput extends HostSettingsInput {
  // biome-ignore lint/suspicious/noExplicitAny: an app may be typed with any Env
  app: Hono<any, any, any>;
}

export interface HstsInput {
  /** @default 63_072_000, two years */
  maxAgeSeconds?: number;
  /** @default false */
  includeSubDomains?: boolean;
  /** Asks browsers' makers to ship the host in their lists; takes a year at least and all subdomains. @default false */
  preload?: boolean;
}

export interface ClientAuthInput {
  /** PEM file with the authorities whose certificates clients may show. */
  ca: string;
  /** Whether a request without a certificate is refused with 403. @default true */
  required?: boolean;
}

export interface TlsInput {
  /** Mozilla's: "intermediate" is TLS 1.2 and 1.3, "modern" TLS 1.3 alone. @default "intermediate" */
  profile?: "intermediate" | "modern";
  /** A folder of own certificates, watched: each pair serves the configured hosts that it covers, instead of ACME. */
  folder?: string;
}

/** One of `allow` and `ask`, and one of `backend` and `app`. */
export interface OnDemandInput extends Pick<HostSettingsInput, "hsts"> {
  /** Whether a name may have a certificate and be served. */
  allow?: (name: string) => boolean | Promise<boolean>;
  /** Asked as `GET URL?domain=NAME`: any 2xx is yes, all else no. Bound: 10 s, no redirects. */
  ask?: string;
  /** A name from `backends`. */
  backend?: string;
  // biome-ignore lint/suspicious/noExplicitAny: middleware may be typed with any Env
  use?: MiddlewareHandler<any>[];
  // biome-ignore lint/suspicious/noExplicitAny: an app may be typed with any Env
  app?: Hono<any, any, any>;
  /** How long a handshake waits for a first certificate, before it is given the placeholder. @default 10_000 */
  handshakeWaitMs?: number;
  /** Names that are served at once; beyond it the one that was idle longest is let go, and asked for again. @default 10_000 */
  maxHosts?: number;
}

export interface HostTlsInput {
  /** The certificate and its chain, leaf first. */
  cert: string;
  key: string;
}

type Writable<T> = { -readonly [K in keyof T]?: T[K] };

export type LimitsInput = Writable<Omit<Limits, "http2">> & { http2?: Writable<Http2Limits> };
