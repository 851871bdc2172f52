/** From what a person wrote to what the edge runs on: every default filled in, every path absolute, every value checked. */
import { readFileSync } from "node:fs";
import { resolve as resolvePath } from "node:path";
import { fileURLToPath } from "node:url";
import { EdgeError } from "../errors.ts";
import { DEFAULT_LIMITS, type Limits } from "../exchange/limits.ts";
import { fillChallenges } from "./acme-dns.ts";
import { DEFAULT_MAX_CONNECTIONS, fillBalancing } from "./balancing.ts";
import type {
  AcmeConfig,
  BackendConfig,
  BackendTlsConfig,
  DnsConfig,
  ResolvedConfig,
  ServerConfig,
} from "./config.ts";
import { crossCheck, DEFAULT_LISTEN } from "./crosscheck.ts";
import { parseShape } from "./explain.ts";
import { fillHost, fillOnDemand, fillTls } from "./fill-host.ts";
import { fillFleet, fleetUrl } from "./fleet.ts";
import type { AcmeInput } from "./input.ts";
import { fillLocation } from "./location.ts";
import { formatProblem, type Problem } from "./problems.ts";
import { fillExplain, fillRetrying } from "./retrying.ts";
import { DEFAULT_DIRECTORY, isApp, type ParsedBackend, type ParsedConfig } from "./schema.ts";
import { fillTunnel } from "./tunnel.ts";

export interface ResolveOptions {
  /** The file the input came from. */
  file?: string;
  /** Where relative paths start. @default the working directory */
  folder?: string;
  /** `local`: every certificate comes from a CA of our own, so neither `acme` nor any `tls` is needed or used. @default "acme" */
  certificates?: "acme" | "local";
}

/**
 * Checks a config and fills in its defaults.
 *
 * @throws EdgeError CONFIG_INVALID with every problem, one a line: `backends.web.servers[1]: not a URL: "10.0.0.5:80O0"`
 */
export function resolveConfig(input: unknown, options: ResolveOptions = {}): ResolvedConfig {
  const shape = parseShape(input);
  const acme = options.certificates !== "local";
  const problems: Problem[] = [
    ...("problems" in shape ? shape.problems : []),
    ...crossCheck(input, { acme }),
  ];
  const files = pemReader(options.folder ?? process.cwd(), problems);
  const resolved = "value" in shape ? fill(shape.value, options, files) : undefined;
  if (problems.length > 0 || !resolved)
    throw new EdgeError("CONFIG_INVALID", problems.map(formatProblem).join("\n"), { source: "operator" });
  return resolved;
}

export interface PemReader {
  readonly problems: Problem[];
  absolute(path: string): string;
  /** The text of a PEM file, or "" after noting what is wrong with it. */
  read(path: string, at: readonly PropertyKey[], label: RegExp, what: string): string;
}

function pemReader(folder: string, problems: Problem[]): PemReader {
  const absolute = (path: string): string => resolvePath(folder, path);
  return {
    problems,
    absolute,
    read(path, at, label, what) {
      const note = (message: string): string => {
        problems.push({ path: at, message });
        return "";
      };
      try {
        const text = readFileSync(absolute(path), "utf8");
        return label.test(text) ? text : note(`${JSON.stringify(path)} holds no PEM ${what}`);
      } catch (error) {
        return note(`cannot read ${JSON.stringify(absolute(path))}: ${readFailure(error)}`);
      }
    },
  };
}

/** Why a file could not be read, in words. */
export function readFailure(error: unknown): string {
  const { code } = error as { code?: unknown };
  if (code === "ENOENT") return "no such file";
  if (code === "EACCES" || code === "EPERM") return "permission denied";
  if (code === "EISDIR") return "it is a folder";
  return typeof code === "string" ? code : String(error);
}

function fill(config: ParsedConfig, options: ResolveOptions, files: PemReader): ResolvedConfig {
  const listen = { ...DEFAULT_LISTEN, ...defined(config.listen ?? {}) };
  const limits: Limits = {
    ...DEFAULT_LIMITS,
    ...defined(config.limits ?? {}),
    http2: { ...DEFAULT_LIMITS.http2, ...defined(config.limits?.http2 ?? {}) },
  };
  const fleet = fillFleet(config.storage, config.fleetKey, files);
  return {
    file: options.file,
    listen,
    storage: fleet ? fleetUrl(fleet) : absoluteStorage(config.storage as string | undefined, files),
    fleet,
    ...fillLocation(config, process.env),
    acme: options.certificates === "local" ? undefined : fillAcme(config, files),
    backends: new Map(
      Object.entries(config.backends ?? {}).map(([name, backend]) => [
        name,
        fillBackend(name, backend, files),
      ]),
    ),
    dns: fillDns(config),
    hosts: new Map(
      Object.entries(config.hosts).map(([name, host]) => [name, fillHost(name, host, options, files)]),
    ),
    onDemand: config.onDemand && fillOnDemand(config.onDemand),
    tls: fillTls(config.tls, options, files),
    tunnel: fillTunnel(config.tunnel, Object.keys(config.hosts), listen.https),
    trustedProxies: config.trustedProxies ?? [],
    limits,
    drainTimeoutMs: config.drainTimeoutMs ?? 30_000,
    accessLog: config.accessLog ?? true,
    explain: fillExplain(config.explain),
    logLevel: config.logLevel ?? "info",
  };
}

/** Without the fields that were written down as `undefined`, which must not hide a default. */
function defined<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const kept = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(kept) as { [K in keyof T]: Exclude<T[K], undefined> };
}

function absoluteStorage(storage: string = "file:./certs", files: PemReader): string {
  if (!storage.startsWith("file:")) return storage;
  const path = storage.startsWith("file:///") ? fileURLToPath(storage) : storage.slice("file:".length);
  return `file:${files.absolute(path)}`;
}

function fillAcme({ acme, hosts, onDemand }: ParsedConfig, files: PemReader): AcmeConfig | undefined {
  // Hosts that are added later need it too.
  const needed =
    onDemand !== undefined ||
    acme?.agreeToTerms === true ||
    Object.values(hosts).some((host) => isApp(host) || host.tls === undefined);
  if (!acme || !needed) return undefined;
  const { keyType, concurrency, fallback } = acme;
  const challenges = fillChallenges(acme, files.absolute, files.problems);
  return {
    ...fillAuthority(acme, ["acme"], files),
    ...challenges,
    keyType,
    concurrency,
    fallback: fallback?.map((other, index) => ({
      ...fillAuthority(
        { ...(acme.email !== undefined && { email: acme.email }), ...other },
        ["acme", "fallback", index],
        files,
      ),
      ...challenges,
      keyType,
    })),
  };
}

function fillAuthority(acme: AcmeInput, at: readonly PropertyKey[], files: PemReader): AcmeConfig {
  const { trustedCa, email, agreeToTerms = false, eab, profile, preferredChain } = acme;
  return {
    directory: acme.directory ?? DEFAULT_DIRECTORY,
    trustedCa:
      trustedCa === undefined
        ? undefined
        : files.read(trustedCa, [...at, "trustedCa"], CERTIFICATE, "certificate"),
    email,
    agreeToTerms,
    eab,
    profile,
    preferredChain,
  };
}

function fillDns({ dns = {} }: ParsedConfig): DnsConfig {
  const { servers = [], minTtlMs = 1_000, keepStaleMs = 300_000 } = dns;
  return { servers, minTtlMs, maxTtlMs: dns.maxTtlMs ?? Math.max(60_000, minTtlMs), keepStaleMs };
}

function fillBackendTls(
  name: string,
  { tls }: ParsedBackend,
  files: PemReader,
): BackendTlsConfig | undefined {
  if (!tls) return undefined;
  const read = (field: "ca" | "cert" | "key"): string | undefined => {
    const path = tls[field];
    const [label, what] =
      field === "key" ? ([PRIVATE_KEY, "private key"] as const) : ([CERTIFICATE, "certificate"] as const);
    return path === undefined ? path : files.read(path, ["backends", name, "tls", field], label, what);
  };
  return {
    ca: read("ca"),
    cert: read("cert"),
    key: read("key"),
    serverName: tls.serverName,
    verify: tls.verify ?? true,
  };
}

function fillServer(
  server: Omit<ServerConfig, "weight">,
  { weight = 1, location }: { weight?: number; location?: string },
  files: PemReader,
): ServerConfig {
  const { socket } = server;
  return {
    ...server,
    ...(socket !== undefined && { socket: files.absolute(socket) }),
    weight,
    ...(location !== undefined && { location }),
  };
}

export function fillBackend(name: string, backend: ParsedBackend, files: PemReader): BackendConfig {
  const { health } = backend;
  return {
    name,
    servers: (backend.servers ?? []).map((server) =>
      "url" in server ? fillServer(server.url, server, files) : fillServer(server, {}, files),
    ),
    tls: fillBackendTls(name, backend, files),
    health: health && {
      tcp: health.tcp ?? false,
      path: health.path ?? "/",
      statuses: health.status ?? [[200, 399]],
      body: health.body,
      startUnhealthy: health.startUnhealthy ?? false,
      intervalMs: health.intervalMs ?? 10_000,
      timeoutMs: health.timeoutMs ?? 2_000,
      rise: health.rise ?? 1,
      fall: health.fall ?? 3,
    },
    connectTimeoutMs: backend.connectTimeoutMs ?? 1_000,
    responseTimeoutMs: backend.responseTimeoutMs ?? 60_000,
    bodyTimeoutMs: backend.bodyTimeoutMs ?? 300_000,
    totalTimeoutMs: backend.totalTimeoutMs ?? 0,
    maxIdleConnections: backend.maxIdleConnections ?? 64,
    idleTimeoutMs: backend.idleTimeoutMs ?? 4_000,
    maxConnections: backend.maxConnections ?? DEFAULT_MAX_CONNECTIONS,
    balancing: fillBalancing(backend),
    ...fillRetrying(backend),
  };
}

export const CERTIFICATE: RegExp = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/;
export const PRIVATE_KEY: RegExp = /-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/;
