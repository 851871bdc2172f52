/** The certificate that edges show to agents. It is pinned by every token, so it never changes and nobody signs it. */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import type { KeyPair } from "./bundle.ts";

const KEY = "tunnel/identity";
const TWENTY_YEARS_MS = 20 * 365 * 86_400_000;

/** Undefined until the first token was made. @throws EdgeError STORAGE_CORRUPT */
export async function loadTunnelIdentity(storage: Storage): Promise<KeyPair | undefined> {
  const bytes = await storage.load(KEY);
  if (bytes === undefined) return undefined;
  try {
    const { key, chain } = JSON.parse(new TextDecoder().decode(bytes)) as KeyPair;
    if (typeof key === "string" && typeof chain === "string") return { key, chain };
  } catch {
    // Told below, with what to do.
  }
  throw new EdgeError(
    "STORAGE_CORRUPT",
    `${KEY} cannot be read: restore it, or move it away and make new tokens`,
    {
      source: "storage",
    },
  );
}

/** The certificate, made where there is none yet. All edges that share the storage have the same. */
export async function openTunnelIdentity(storage: Storage, name: string, clock: Clock): Promise<KeyPair> {
  const known = await loadTunnelIdentity(storage);
  if (known) return known;
  return storage.withLock("tunnel-identity", async () => {
    const made = await loadTunnelIdentity(storage);
    if (made) return made;
    // Loaded here, as X.509 is needed once in the life of a fleet.
    const { createLocalCa } = await import("./local-ca.ts");
    const pair = await (await createLocalCa(clock)).issueFor([name], TWENTY_YEARS_MS);
    await storage.store(KEY, new TextEncoder().encode(JSON.stringify(pair)));
    return pair;
  });
}
