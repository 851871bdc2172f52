/** What there is of certificates, read from storage and files, whether an edge runs or not. */

import { createPrivateKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { ResolvedConfig } from "../config/config.ts";
import { EdgeError, messageOf } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { type Bundle, bundleOf, decodeBundle } from "./bundle.ts";
import { certificateFacts } from "./certificate.ts";
import type { CertificateFolder } from "./folder-keeper.ts";
import { certificateState } from "./keeper.ts";
import { hostKey } from "./keys.ts";

/** One entry of `skerry certs list --json`. Dates are ISO 8601; what is not known is null. */
export interface CertificateRow {
  readonly host: string;
  readonly state: "valid" | "expiring" | "expired" | "missing" | "broken";
  /** "acme", or "file" for the operator's own. */
  readonly source: "acme" | "file";
  readonly notBefore: string | null;
  readonly notAfter: string | null;
  /** The CA that it was ordered from, or "file". */
  readonly issuer: string | null;
  /** What the certificate itself says of its issuer. */
  readonly issuerName: string | null;
  readonly serial: string | null;
  readonly names: readonly string[];
  readonly generation: number | null;
  readonly keyType: string | null;
  readonly fingerprint256: string | null;
  readonly profile: string | null;
  readonly obtainedAt: string | null;
  /** Why it is broken. */
  readonly problem: string | null;
}

export interface Inventory {
  /** Hosts of the config, then those on demand that storage holds. */
  hosts(): Promise<string[]>;
  /** Undefined where there is none. Throws where it is damaged or cannot be read. */
  bundle(host: string): Promise<Bundle | undefined>;
  row(host: string): Promise<CertificateRow>;
}

export function createInventory(
  config: Pick<ResolvedConfig, "hosts" | "onDemand">,
  { storage, folder, wall }: { storage: Storage; folder: CertificateFolder | undefined; wall: () => number },
): Inventory {
  const filesOf = (host: string) => config.hosts.get(host)?.tls ?? folder?.find(host);

  const bundle = async (host: string): Promise<Bundle | undefined> => {
    const files = filesOf(host);
    if (files) {
      const [chain, key] = [await readFile(files.certPath, "utf8"), await readFile(files.keyPath, "utf8")];
      return bundleOf({ chain, key }, { host, issuer: "file", generation: 0, obtainedAt: 0 }, files.certPath);
    }
    const key = hostKey("certificates", host);
    const bytes = await storage.load(key);
    return bytes && decodeBundle(bytes, host, key);
  };

  return {
    async hosts() {
      const names = new Set(config.hosts.keys());
      if (config.onDemand) {
        const prefix = "certificates/";
        const stored = await storage.list(prefix);
        for (const key of stored.sort()) names.add(key.slice(prefix.length).replaceAll("_", "*"));
      }
      return [...names];
    },
    bundle,
    async row(host) {
      const source = filesOf(host) ? "file" : "acme";
      try {
        return rowOf(host, source, await bundle(host), wall());
      } catch (thrown) {
        if (thrown instanceof EdgeError && thrown.code === "STORAGE_UNREADABLE") throw thrown;
        return { ...rowOf(host, source, undefined, wall()), state: "broken", problem: messageOf(thrown) };
      }
    },
  };
}

const iso = (wall: number): string => new Date(wall).toISOString();

function rowOf(
  host: string,
  source: "acme" | "file",
  bundle: Bundle | undefined,
  wall: number,
): CertificateRow {
  const facts = bundle && certificateFacts(bundle.chain, host);
  return {
    host,
    state: certificateState(bundle, wall),
    source,
    notBefore: bundle ? iso(bundle.notBefore) : null,
    notAfter: bundle ? iso(bundle.notAfter) : null,
    issuer: bundle?.issuer ?? null,
    issuerName: facts?.issuerName ?? null,
    serial: facts?.serial ?? null,
    names: bundle?.names ?? [],
    generation: bundle && source === "acme" ? bundle.generation : null,
    keyType: bundle ? keyTypeOf(bundle.key) : null,
    fingerprint256: facts?.leaf.fingerprint256 ?? null,
    profile: bundle?.profile ?? null,
    obtainedAt: bundle && bundle.obtainedAt > 0 ? iso(bundle.obtainedAt) : null,
    problem: null,
  };
}

/** "p256" and the like, as in the config. */
function keyTypeOf(pem: string): string {
  const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey(pem);
  if (asymmetricKeyType === "rsa") return `rsa${asymmetricKeyDetails?.modulusLength ?? ""}`;
  const curve = asymmetricKeyDetails?.namedCurve;
  return curve === "prime256v1" || curve === "P-256"
    ? "p256"
    : curve === "secp384r1" || curve === "P-384"
      ? "p384"
      : String(curve ?? asymmetricKeyType);
}
