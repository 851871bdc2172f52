/** What `skerry doctor` looks at. Nothing is written, ordered or counted anywhere. */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Clock } from "../clock.ts";
import type { AcmeConfig, HostConfig, ResolvedConfig, ServerConfig } from "../config/config.ts";
import { lookUp } from "../edge/routes.ts";
import { openStorage } from "../edge/storage.ts";
import { messageOf } from "../errors.ts";
import { silentLog } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { createAccounts, thumbprintOf } from "../tls/account.ts";
import { bundleOf, checkServable, decodeBundle } from "../tls/bundle.ts";
import { certificateFacts, renewalStart, splitChain, type Validity } from "../tls/certificate.ts";
import { createDnsClient } from "../tls/dns-client.ts";
import { issuerName } from "../tls/issuer.ts";
import { hostKey } from "../tls/keys.ts";
import { createLedger } from "../tls/ledger.ts";
import { type Applicant, createPreflight, isPublicDirectory } from "../tls/preflight.ts";
import { createTransport } from "../tls/transport.ts";
import { type DoctorOptions, formatted, handshake, reachable } from "./doctor-connect.ts";

export interface Check {
  readonly check: string;
  readonly ok: boolean;
  readonly message: string;
  readonly fix?: string | undefined;
}

const good = (check: string, message: string): Check => ({ check, ok: true, message });
const bad = (check: string, message: string, fix: string): Check => ({ check, ok: false, message, fix });

/** All checks of one host, in the order to read them in. */
export async function examine(
  config: ResolvedConfig,
  name: string,
  options: DoctorOptions,
): Promise<Check[]> {
  const host = lookUp(config.hosts, name);
  const onDemand = host === undefined && config.onDemand !== undefined;
  if (!host && !onDemand) {
    const fix = `add ${JSON.stringify(name)} to hosts`;
    return [bad("config", `${name} is not a host of this config`, fix)];
  }
  const key = host?.name ?? name;
  const configured = good("config", onDemand ? `${name} is served on demand` : `${name} is served as ${key}`);
  const own = host?.tls !== undefined;
  const dns = createDnsClient({ clock: options.clock, servers: config.acme?.dnsServers });
  const addresses = name.startsWith("*.") ? [] : await dns.addresses(name, options.signal).catch(() => []);
  const storage = openStorage(config, { clock: options.clock, log: silentLog });
  try {
    const [network, certificate, secure, backend] = await Promise.all([
      config.acme && !own
        ? lookAtNetwork(config.acme, storage, name, addresses, options)
        : lookAtPlain(name, addresses, options),
      host?.tls
        ? lookAtFiles(host.tls, name, options.clock)
        : lookAtStorage(config, storage, key, options.clock),
      lookAtHttps(
        name,
        addresses,
        own || config.acme === undefined || isPublicDirectory(config.acme.directory),
        options,
      ),
      host ? lookAtBackend(config, host, options) : [],
    ]);
    return [configured, ...network, ...secure, ...certificate, ...backend];
  } finally {
    await storage.close();
  }
}

/** What the CA will look at. */
async function lookAtNetwork(
  acme: AcmeConfig,
  storage: Storage,
  name: string,
  addresses: readonly string[],
  options: DoctorOptions,
): Promise<Check[]> {
  const { clock, httpPort, signal } = options;
  let applicant: Applicant = { accountUrl: undefined, thumbprint: undefined };
  let account: Check;
  try {
    const transport = createTransport({ clock, trustedCa: acme.trustedCa });
    const accounts = createAccounts({
      issuerName: issuerName(acme.directory),
      config: acme,
      storage,
      transport,
      wall: () => clock.wall(),
      log: silentLog,
      onThumbprint: () => {},
    });
    const stored = await accounts.load();
    if (stored) applicant = { accountUrl: stored.url, thumbprint: thumbprintOf(stored.key) };
    account = stored?.url
      ? good("account", stored.url)
      : bad("account", "there is none in storage yet", "start the edge once: it registers by itself");
  } catch (thrown) {
    account = bad("account", messageOf(thrown), "mend what is said there");
  }
  const found = await createPreflight({ config: acme, clock, log: silentLog, httpPort }).look(
    name,
    applicant,
    signal,
  );
  const checks = found.map(({ check, ok, message, fix }) => ({ check, ok, message, fix }));
  // Without an account the edge cannot say that it is itself, but whether somebody is there can be told.
  const open =
    applicant.thumbprint === undefined ? await lookAtPort("port 80", addresses, httpPort, options) : [];
  return [account, ...checks, ...open];
}

/** A host with certificates of its own: the CA is of no concern. */
async function lookAtPlain(
  name: string,
  addresses: readonly string[],
  options: DoctorOptions,
): Promise<Check[]> {
  if (name.startsWith("*.")) return [];
  const dns =
    addresses.length > 0
      ? good("dns", `${name} is ${addresses.join(", ")}`)
      : bad(
          "dns",
          `${name} has no address`,
          `add an A or AAAA record for ${name} with this edge's public address`,
        );
  return [dns, ...(await lookAtPort("port 80", addresses, options.httpPort, options))];
}

function lookAtPort(
  check: string,
  addresses: readonly string[],
  port: number,
  options: DoctorOptions,
): Promise<Check[]> {
  return Promise.all(
    addresses.map(async (host) => {
      const where = formatted(host, port);
      const why = await reachable({ host, port }, options);
      return why === undefined
        ? good(check, `somebody answers at ${where}`)
        : bad(check, `${where}: ${why}`, `open port ${port} to this edge`);
    }),
  );
}

async function lookAtHttps(
  name: string,
  addresses: readonly string[],
  trusted: boolean,
  options: DoctorOptions,
): Promise<Check[]> {
  return Promise.all(
    addresses.map(async (address): Promise<Check> => {
      const where = formatted(address, options.httpsPort);
      const shown = await handshake(address, name, options);
      if (!(shown instanceof X509Certificate)) {
        return bad(
          "port 443",
          `${where}: ${shown}`,
          `open port ${options.httpsPort} to this edge, and see that it runs`,
        );
      }
      const { subjectAltName = "", validTo } = shown;
      if (subjectAltName.includes("placeholder.invalid")) {
        return bad(
          "port 443",
          `${where} shows a placeholder`,
          "see the other lines for what keeps the certificate away",
        );
      }
      if (shown.checkHost(name, { subject: "never" }) === undefined) {
        return bad(
          "port 443",
          `${where} shows a certificate for ${subjectAltName}`,
          "something else may answer there",
        );
      }
      if (Date.parse(validTo) < options.clock.wall()) {
        return bad(
          "port 443",
          `${where} shows a certificate that expired on ${validTo}`,
          "see the line on the certificate",
        );
      }
      const refused = trusted ? await handshake(address, name, options, true) : undefined;
      if (typeof refused === "string") {
        return bad(
          "port 443",
          `${where}: browsers refuse it: ${refused}`,
          "serve the whole chain of a CA that they know",
        );
      }
      return good("port 443", `${where} shows a certificate for ${name}`);
    }),
  );
}

async function lookAtStorage(
  config: ResolvedConfig,
  storage: Storage,
  host: string,
  clock: Clock,
): Promise<Check[]> {
  const { acme } = config;
  const checks: Check[] = [];
  try {
    const storageKey = hostKey("certificates", host);
    const bytes = await storage.load(storageKey);
    const issuers = acme
      ? [acme, ...(acme.fallback ?? [])].map(({ directory }) => issuerName(directory))
      : [];
    const failed = await createLedger(storage, issuers, () => clock.wall()).read(host);
    if (bytes) {
      const bundle = decodeBundle(bytes, host, storageKey);
      checks.push(
        judge(bundle, `from ${bundle.issuer}, ${splitChain(bundle.chain).length} in its chain`, clock),
      );
    } else {
      checks.push(
        bad("certificate", `storage holds none for ${host}`, "it is ordered as soon as the rest is right"),
      );
    }
    if (failed) {
      const next = date(failed.nextAttemptAt);
      const message = `the last order failed (${failed.reason}): ${failed.message}; the next attempt is due ${next}`;
      checks.push(bad("order", message, "mend the cause; the edge tries again by itself"));
    }
  } catch (thrown) {
    checks.push(
      bad("certificate", messageOf(thrown), "mend what is said there; the edge orders another one"),
    );
  }
  return checks;
}

async function lookAtFiles(
  { certPath, keyPath }: { certPath: string; keyPath: string },
  host: string,
  clock: Clock,
): Promise<Check[]> {
  try {
    const [chain, key] = await Promise.all([readFile(certPath, "utf8"), readFile(keyPath, "utf8")]);
    const facts = { host, issuer: "file", generation: 0, obtainedAt: 0 };
    checkServable(bundleOf({ chain, key }, facts, certPath), certPath);
    const { notBefore, notAfter, issuerName: by } = certificateFacts(chain, certPath);
    return [judge({ notBefore, notAfter }, `${certPath} from ${by}`, clock)];
  } catch (thrown) {
    return [bad("certificate", messageOf(thrown), "replace the files")];
  }
}

function judge(validity: Validity, what: string, clock: Clock): Check {
  const { notBefore, notAfter } = validity;
  const now = clock.wall();
  if (now < notBefore)
    return bad("certificate", `${what}: not valid before ${date(notBefore)}`, "set the clock");
  if (now >= notAfter)
    return bad("certificate", `${what}: expired on ${date(notAfter)}`, "see what keeps it from renewal");
  // Half of the time for renewal has gone by.
  if (now >= (renewalStart(validity) + notAfter) / 2)
    return bad(
      "certificate",
      `${what}: valid until ${date(notAfter)}, renewal is overdue`,
      "see what keeps it from renewal",
    );
  return good("certificate", `${what}: valid until ${date(notAfter)}`);
}

async function lookAtBackend(
  config: ResolvedConfig,
  host: HostConfig,
  options: DoctorOptions,
): Promise<Check[]> {
  if (host.handler.kind !== "backend") return [];
  const backend = config.backends.get(host.handler.backend);
  if (!backend) return [];
  if (backend.servers.length === 0)
    return [good("backend", `${backend.name} has no fixed servers: containers join by wormhole`)];
  return Promise.all(
    backend.servers.map(async (server) => {
      if (server.srv)
        return good("backend", `${server.id} is found by SRV records, which are not looked at here`);
      const why = await reachable(targetOf(server), options);
      if (why === undefined) return good("backend", `${server.id} accepts connections`);
      return bad("backend", `${server.id}: ${why}`, `start it, or mend backends.${backend.name}.servers`);
    }),
  );
}

const targetOf = ({ host, port, socket }: ServerConfig): { host: string; port: number } | { path: string } =>
  socket === undefined ? { host, port } : { path: socket };

const date = (wall: number): string => new Date(wall).toISOString().slice(0, 16).replace("T", " ");
