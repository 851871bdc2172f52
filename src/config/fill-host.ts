/** Hosts, as the edge runs on them. */
import type { MiddlewareHandler } from "hono";
import type { ClientAuthConfig, HostConfig, HostHandler, OnDemandConfig, TlsConfig } from "./config.ts";
import type {
  AppHostInput,
  BackendHostInput,
  HostInput,
  HstsInput,
  OnDemandInput,
  TlsInput,
} from "./input.ts";
import { CERTIFICATE, type PemReader, PRIVATE_KEY, type ResolveOptions } from "./resolve.ts";
import { isApp } from "./schema.ts";

export function fillHost(
  name: string,
  host: HostInput,
  options: ResolveOptions,
  files: PemReader,
): HostConfig {
  const written = isApp(host) ? { app: host } : (host as Partial<BackendHostInput & AppHostInput>);
  const tls = options.certificates === "local" ? undefined : written.tls;
  if (tls) {
    files.read(tls.cert, ["hosts", name, "tls", "cert"], CERTIFICATE, "certificate");
    files.read(tls.key, ["hosts", name, "tls", "key"], PRIVATE_KEY, "private key");
  }
  return {
    name,
    tls: tls && { certPath: files.absolute(tls.cert), keyPath: files.absolute(tls.key) },
    profile: written.profile,
    keyType: written.keyType,
    hsts: hstsValue(written.hsts),
    clientAuth: fillClientAuth(name, written, files),
    handler: handlerOf(written),
  };
}

export function fillOnDemand(written: OnDemandInput): OnDemandConfig {
  const { allow, ask } = written;
  return {
    permission: allow ? { kind: "allow", allow } : { kind: "ask", url: ask ?? "" },
    handler: handlerOf(written),
    hsts: hstsValue(written.hsts),
    handshakeWaitMs: written.handshakeWaitMs ?? 10_000,
    maxHosts: written.maxHosts ?? 10_000,
  };
}

export function fillTls(written: TlsInput = {}, options: ResolveOptions, files: PemReader): TlsConfig {
  const folder = options.certificates === "local" ? undefined : written.folder;
  return {
    profile: written.profile ?? "intermediate",
    folder: folder === undefined ? undefined : files.absolute(folder),
  };
}

/** `crosscheck.ts` has seen to it that there is one of both. */
function handlerOf({ backend, use, app }: Partial<BackendHostInput & AppHostInput>): HostHandler {
  if (app) return { kind: "app", app };
  return { kind: "backend", backend: backend ?? "", use: (use ?? []) as MiddlewareHandler[] };
}

function fillClientAuth(
  name: string,
  { clientAuth }: Partial<BackendHostInput>,
  files: PemReader,
): ClientAuthConfig | undefined {
  if (!clientAuth) return undefined;
  const ca = files.read(clientAuth.ca, ["hosts", name, "clientAuth", "ca"], CERTIFICATE, "certificate");
  return { ca, required: clientAuth.required ?? true };
}

/** Mozilla's recommendation, and well above the year that browsers' lists ask for. */
const TWO_YEARS_S = 63_072_000;

/** RFC 6797 §6.1. */
function hstsValue(hsts: boolean | HstsInput | undefined): string | undefined {
  if (hsts === undefined || hsts === false) return undefined;
  const {
    maxAgeSeconds = TWO_YEARS_S,
    includeSubDomains = false,
    preload = false,
  } = hsts === true ? {} : hsts;
  return [
    `max-age=${maxAgeSeconds}`,
    ...(includeSubDomains ? ["includeSubDomains"] : []),
    ...(preload ? ["preload"] : []),
  ].join("; ");
}
