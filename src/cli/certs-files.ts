/** Certificates in and out of storage. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../clock.ts";
import type { ResolvedConfig } from "../config/config.ts";
import { readFailure } from "../config/resolve.ts";
import { EdgeError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { ariId } from "../tls/ari.ts";
import { type Bundle, bundleOf, checkServable, encodeBundle } from "../tls/bundle.ts";
import type { Inventory } from "../tls/inventory.ts";
import { issuerName } from "../tls/issuer.ts";
import { hostKey } from "../tls/keys.ts";
import { toPkcs12 } from "../tls/pkcs12.ts";

/** PEM of a certificate and its key, and which file the certificate stood in. */
export interface Pair {
  readonly chain: string;
  readonly key: string;
  readonly from: string;
}

export async function readPair(files: { cert: string; key: string }): Promise<Pair> {
  return { chain: await read(files.cert), key: await read(files.key), from: files.cert };
}

/**
 * Stores a pair as the host's certificate. From then on it is as one that was ordered: it is renewed by ACME when its time
 * comes. Throws CERTIFICATE_INVALID where clients would not take it.
 */
export async function importPair(
  config: ResolvedConfig,
  { storage, inventory }: { storage: Storage; inventory: Inventory },
  host: string,
  { chain, key, from }: Pair,
): Promise<Bundle> {
  if (config.hosts.get(host)?.tls)
    throw new EdgeError("USAGE", `${host} has tls files of its own in the config: put the pair there`, {
      source: "operator",
    });
  return storage.withLock(`issue/${host}`, async () => {
    const former = await inventory.bundle(host).catch(() => undefined);
    const id = ariId(chain);
    const bundle = bundleOf(
      { chain, key },
      {
        host,
        issuer: config.acme ? issuerName(config.acme.directory) : "import",
        generation: (former?.generation ?? 0) + 1,
        obtainedAt: systemClock.wall(),
        ...(id !== undefined && { ariId: id }),
      },
      from,
    );
    checkServable(bundle, from);
    if (bundle.notAfter <= systemClock.wall())
      throw new EdgeError("CERTIFICATE_INVALID", `${from} has expired`, { source: "operator" });
    await storage.store(hostKey("certificates", host), encodeBundle(bundle));
    return bundle;
  });
}

/** Writes HOST.crt and HOST.key, the key for its owner alone; answers their paths. */
export async function exportPem(bundle: Bundle, folder: string): Promise<string[]> {
  const name = join(folder, bundle.host.replaceAll("*", "_"));
  await mkdir(folder, { recursive: true });
  await write(`${name}.crt`, bundle.chain, 0o644);
  await write(`${name}.key`, bundle.key, 0o600);
  return [`${name}.crt`, `${name}.key`];
}

/** Writes a PKCS#12 file. */
export async function exportPkcs12(bundle: Bundle, path: string, password: string): Promise<void> {
  await write(path, toPkcs12(bundle, password, bundle.host), 0o600);
}

/** The first line of standard input, without its end. */
export async function readPassword(): Promise<string> {
  let text = "";
  for await (const chunk of process.stdin) {
    text += String(chunk);
    if (text.includes("\n")) break;
  }
  const [password = ""] = text.split(/\r?\n/);
  if (password === "")
    throw new EdgeError("USAGE", "--password-stdin: standard input holds no password", {
      source: "operator",
    });
  return password;
}

async function read(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (thrown) {
    throw new EdgeError("USAGE", `cannot read ${path}: ${readFailure(thrown)}`, { source: "operator" });
  }
}

/** Never over another file: it may be the only copy of a key. */
async function write(path: string, content: string | Uint8Array, mode: number): Promise<void> {
  try {
    await writeFile(path, content, { mode, flag: "wx" });
  } catch (thrown) {
    const exists = (thrown as { code?: string }).code === "EEXIST";
    throw new EdgeError(
      "USAGE",
      exists ? `${path} is there already` : `cannot write ${path}: ${readFailure(thrown)}`,
      {
        source: "operator",
      },
    );
  }
}
