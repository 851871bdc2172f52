/** A folder of the operator's own certificates: which pair in it serves which host, followed while files come and go. */
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Clock, Timer } from "../clock.ts";
import type { HostTlsConfig } from "../config/config.ts";
import { errorFields, messageOf } from "../errors.ts";
import type { Log } from "../log.ts";
import { bundleOf } from "./bundle.ts";
import { type CertificateFacts, certificateFacts, checkChainOrder } from "./certificate.ts";

export interface CertificateFolder {
  /** Reads it for the first time. Never rejects: what is wrong is logged. */
  load(): Promise<void>;
  /** The pair for a host: of those that cover it, the one that is valid the longest. */
  find(host: string): HostTlsConfig | undefined;
  /** Begins to follow it. */
  begin(): void;
  /** Looks at once. */
  look(): Promise<void>;
  close(): Promise<void>;
}

export interface CertificateFolderOptions {
  path: string;
  clock: Clock;
  log: Log;
  /** Told when {@link CertificateFolder.find} may answer otherwise than before. */
  onChange(): void;
}

const POLL_MS = 30_000;
/** More is a mistake, such as the root of a disk. */
const MAX_ENTRIES = 20_000;

interface Found extends HostTlsConfig {
  readonly mark: string;
  readonly facts: CertificateFacts;
}

/**
 * Pairs are `NAME.crt` or `NAME.pem` beside `NAME.key`, and `fullchain.pem` beside `privkey.pem` (as certbot keeps them) or
 * `tls.crt` beside `tls.key`, in the folder itself or one level below. A pair that is damaged is refused, and what it
 * served before stays.
 */
export function createCertificateFolder(options: CertificateFolderOptions): CertificateFolder {
  const { path, clock, log, onChange } = options;
  let pairs = new Map<string, Found>();
  /** What was said of a pair, or of the folder, and of which files: not told every half minute. */
  const said = new Map<string, string>();
  let timer: Timer | undefined;
  let running: Promise<void> | undefined;
  let closed = false;
  let begun = false;

  const complain = (what: string, mark: string, thrown: unknown): void => {
    if (said.get(what) === `${mark} ${messageOf(thrown)}`) return;
    said.set(what, `${mark} ${messageOf(thrown)}`);
    const kept = pairs.has(what);
    log.error("certificate.folder_refused", { certificate: what, kept, ...errorFields(thrown) });
  };

  const read = async (files: HostTlsConfig): Promise<Found | undefined> => {
    const known = pairs.get(files.certPath);
    let mark = "";
    try {
      mark = `${await markOf(files.certPath)} ${await markOf(files.keyPath)}`;
      if (known?.mark === mark) return known;
      const [chain, key] = [await readFile(files.certPath, "utf8"), await readFile(files.keyPath, "utf8")];
      const facts = certificateFacts(chain, files.certPath);
      // The key fits, and clients will find the way to a root: whom it is for is asked by `find`.
      bundleOf({ key, chain }, { host: "", issuer: "file", generation: 0, obtainedAt: 0 }, files.certPath);
      checkChainOrder(facts, files.certPath);
      said.delete(files.certPath);
      return { ...files, mark, facts };
    } catch (thrown) {
      complain(files.certPath, mark, thrown);
      return known;
    }
  };

  const scan = async (): Promise<void> => {
    let files: HostTlsConfig[];
    try {
      files = await listPairs(path);
      said.delete(path);
    } catch (thrown) {
      // A folder that is away for a moment takes nothing from anybody.
      return complain(path, "", thrown);
    }
    const next = new Map<string, Found>();
    for (const each of files) {
      const found = await read(each);
      if (found) next.set(each.certPath, found);
    }
    const changed =
      next.size !== pairs.size || [...next].some(([name, { mark }]) => pairs.get(name)?.mark !== mark);
    pairs = next;
    if (!changed) return;
    log.info("certificate.folder", { folder: path, pairs: pairs.size });
    // Who loads it waits for that, and asks then: told here, it would have two followers at once, and wait for neither.
    if (!closed && begun) onChange();
  };

  const look = (): Promise<void> => {
    timer?.cancel();
    running ??= scan().finally(() => {
      running = undefined;
      if (!closed && begun) timer = clock.after(POLL_MS, look);
    });
    return running;
  };

  return {
    load: scan,
    begin() {
      begun = true;
      timer = clock.after(POLL_MS, look);
    },
    look,
    find(host) {
      let best: Found | undefined;
      for (const pair of pairs.values()) {
        if (!covers(pair.facts, host)) continue;
        if (!best || pair.facts.notAfter > best.facts.notAfter) best = pair;
      }
      return best && { certPath: best.certPath, keyPath: best.keyPath };
    },
    async close() {
      closed = true;
      timer?.cancel();
      await running;
    },
  };
}

/** A wildcard host is covered by its own wildcard alone. */
function covers(facts: CertificateFacts, host: string): boolean {
  return host.startsWith("*.") ? facts.names.includes(host) : facts.covers(host);
}

async function markOf(path: string): Promise<string> {
  const { mtimeMs, size, ino } = await stat(path);
  return `${ino}:${size}:${mtimeMs}`;
}

async function listPairs(folder: string): Promise<HostTlsConfig[]> {
  const found: HostTlsConfig[] = [];
  const visit = async (at: string, deeper: boolean): Promise<void> => {
    const entries = await readdir(at, { withFileTypes: true });
    if (entries.length > MAX_ENTRIES) throw new Error(`${at} holds more than ${MAX_ENTRIES} entries`);
    const names = new Set(entries.map(({ name }) => name));
    found.push(...pairsIn(at, names));
    if (!deeper) return;
    // A link to a folder is one too: certbot's and Kubernetes' are made of links.
    for (const entry of entries) {
      if (entry.name.startsWith(".")) continue;
      const inner = join(at, entry.name);
      if (entry.isDirectory() || (entry.isSymbolicLink() && (await isFolder(inner))))
        await visit(inner, false);
    }
  };
  await visit(folder, true);
  return found.sort((a, b) => (a.certPath < b.certPath ? -1 : 1));
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    // A link that leads nowhere is none of ours.
    return false;
  }
}

function pairsIn(folder: string, names: ReadonlySet<string>): HostTlsConfig[] {
  const found: HostTlsConfig[] = [];
  const take = (cert: string, key: string): boolean => {
    if (!names.has(cert) || !names.has(key)) return false;
    found.push({ certPath: join(folder, cert), keyPath: join(folder, key) });
    return true;
  };
  take("fullchain.pem", "privkey.pem");
  for (const key of names) {
    if (!key.endsWith(".key")) continue;
    const name = key.slice(0, -".key".length);
    if (!take(`${name}.crt`, key)) take(`${name}.pem`, key);
  }
  return found;
}
