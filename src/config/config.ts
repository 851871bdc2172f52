/** What a config means once it is read: every default filled in, every path absolute, every value checked. */
import type { Hono, MiddlewareHandler } from "hono";
import type { Limits } from "../exchange/limits.ts";

/** `host:port`; port 0 asks the system for a free one. */
export interface ListenAddress {
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface AcmeConfig {
  /** URL of the CA's directory. */
  readonly directory: string;
  /** PEM text of the CA that signed the directory's own HTTPS certificate, where it is a private one. */
  readonly trustedCa: string | undefined;
  readonly email: string | undefined;
  readonly agreeToTerms: boolean;
}

/** One fixed server, from "http://10.0.0.5:8000". */
export interface ServerConfig {
  /** As written in the config; its id in logs and metrics. */
  readonly id: string;
  readonly protocol: "http" | "https" | "h2c";
  readonly host: string;
  readonly port: number;
  readonly weight: number;
}

export interface HealthConfig {
  readonly path: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  /** Good answers in a row that bring a server back. */
  readonly rise: number;
  /** Bad ones in a row that take it out. */
  readonly fall: number;
}

export interface BackendConfig {
  readonly name: string;
  readonly servers: readonly ServerConfig[];
  readonly health: HealthConfig | undefined;
  readonly connectTimeoutMs: number;
  /** From the request's last byte to the response's head; 0 for none. */
  readonly responseTimeoutMs: number;
  /** Idle kept-alive connections per server. */
  readonly maxIdleConnections: number;
  readonly idleTimeoutMs: number;
}

/** Own PEM files instead of ACME. */
export interface HostTlsConfig {
  readonly certPath: string;
  readonly keyPath: string;
}

export interface HostConfig {
  /** Lower-case A-label without trailing dot. */
  readonly name: string;
  readonly tls: HostTlsConfig | undefined;
  /** Either a backend with middleware, or a whole app. */
  readonly handler:
    | { readonly kind: "backend"; readonly backend: string; readonly use: readonly MiddlewareHandler[] }
    // biome-ignore lint/suspicious/noExplicitAny: an app may be typed with any Env, and Hono's types are invariant in it
    | { readonly kind: "app"; readonly app: Hono<any, any, any> };
}

export interface ResolvedConfig {
  /** The file it came from, or undefined; relative paths were resolved against its folder. */
  readonly file: string | undefined;
  readonly listen: {
    readonly http: ListenAddress;
    readonly https: ListenAddress;
    readonly admin: ListenAddress;
  };
  /** "file:/absolute/folder", "memory:" (tests only) or "nats://…". */
  readonly storage: string;
  readonly location: string;
  /** Undefined where every host brings its own certificate, or none is served by HTTPS. */
  readonly acme: AcmeConfig | undefined;
  readonly backends: ReadonlyMap<string, BackendConfig>;
  readonly hosts: ReadonlyMap<string, HostConfig>;
  /** CIDR ranges or addresses whose forwarding headers are believed. */
  readonly trustedProxies: readonly string[];
  readonly limits: Limits;
  readonly drainTimeoutMs: number;
  readonly accessLog: boolean;
  readonly logLevel: "debug" | "info" | "warn" | "error";
}
