/** Certificates in storage. */
import { EdgeError, errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { type Bundle, decodeBundle, encodeBundle } from "./bundle.ts";
import { hostKey } from "./keys.ts";

export interface Vault {
  /** The stored bundle. One that is damaged is set aside, reported and treated as absent. Throws STORAGE_UNREADABLE. */
  load(host: string): Promise<Bundle | undefined>;
  store(bundle: Bundle): Promise<void>;
}

export function createVault(storage: Storage, log: Log, wall: () => number): Vault {
  /** Damaged values already reported, so that looking again does not say it again. */
  const reported = new Set<string>();
  return {
    async load(host) {
      const key = hostKey("certificates", host);
      const bytes = await storage.load(key);
      if (!bytes) return undefined;
      try {
        return decodeBundle(bytes, host, key);
      } catch (thrown) {
        if (!(thrown instanceof EdgeError)) throw thrown;
        if (reported.has(key)) return undefined;
        reported.add(key);
        const aside = `${hostKey("set-aside", host)}/${wall()}`;
        log.error("certificate.corrupt", { host, key, setAside: aside, ...errorFields(thrown) });
        // The next certificate takes its place; whoever wants to know what happened finds a copy.
        await storage.store(aside, bytes).catch((failed: unknown) => {
          log.warn("certificate.set_aside_failed", { host, ...errorFields(failed) });
        });
        return undefined;
      }
    },
    async store(bundle) {
      const key = hostKey("certificates", bundle.host);
      const bytes = encodeBundle(bundle);
      try {
        // A peer whose lock was lost may have been faster: what it stored is not replaced by what is no newer.
        if (storage.update)
          await storage.update(key, (stored) => (isOlder(stored, bundle, key) ? bytes : undefined));
        else await storage.store(key, bytes);
      } catch (thrown) {
        // It is served all the same, and a restart must not go back behind it.
        if (storage.keep && storage.away?.()) {
          const last = await storage.load(key).catch(() => undefined);
          if (isOlder(last, bundle, key)) await storage.keep(key, bytes);
        }
        throw thrown;
      }
      reported.delete(key);
    },
  };
}

function isOlder(stored: Uint8Array | undefined, bundle: Bundle, key: string): boolean {
  if (!stored) return true;
  try {
    return decodeBundle(stored, bundle.host, key).generation < bundle.generation;
  } catch {
    // Damaged: what works takes its place.
    return true;
  }
}
