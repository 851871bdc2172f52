/** Orders under way, with their keys: after a crash the order is finished instead of made again. */
import type { KeyType } from "../config/config.ts";
import type { Storage } from "../storage/storage.ts";
import { hostKey } from "./keys.ts";
import type { Ledger } from "./ledger.ts";
import type { Vault } from "./vault.ts";

export interface PendingOrder {
  readonly issuer: string;
  /** URLs at the CA. */
  readonly account: string;
  readonly order: string;
  /** PKCS#8 PEM of the certificate to come. */
  readonly key: string;
  readonly keyType: KeyType;
  readonly profile?: string | undefined;
  /** Wall time in milliseconds. */
  readonly at: number;
}

export interface PendingOrders {
  /** What cannot be read, or is too old for a CA to remember, counts as none. */
  load(host: string): Promise<PendingOrder | undefined>;
  store(host: string, order: PendingOrder): Promise<void>;
  remove(host: string): Promise<void>;
}

/** Let's Encrypt forgets an order after 7 days. */
const LIFE_MS = 7 * 86_400_000;

export function createPendingOrders(storage: Storage, wall: () => number): PendingOrders {
  const keyOf = (host: string): string => hostKey("orders", host);
  return {
    async load(host) {
      const bytes = await storage.load(keyOf(host));
      const found = bytes && parse(bytes);
      return found && Math.abs(wall() - found.at) < LIFE_MS ? found : undefined;
    },
    store(host, order) {
      const text = JSON.stringify({ version: 1, ...order, at: new Date(order.at).toISOString() }, null, 1);
      return storage.store(keyOf(host), new TextEncoder().encode(`${text}\n`));
    },
    remove: (host) => storage.delete(keyOf(host)),
  };
}

/**
 * Removes what a crash left between the storing of a certificate and the end of its order: the order, and the note that it
 * was under way.
 */
export async function sweepOrders(storage: Storage, vault: Vault, ledger: Ledger): Promise<void> {
  for (const folder of ["orders", "ledger"] as const) {
    for (const key of await storage.list(`${folder}/`)) {
      const host = key.slice(folder.length + 1).replace(/^_/, "*");
      const bytes = await storage.load(key);
      const bundle = bytes && (await vault.load(host));
      if (!bundle) continue;
      if (folder === "orders" && parse(bytes)?.key === bundle.key) await storage.delete(key);
      const entry = folder === "ledger" ? await ledger.read(host) : undefined;
      if (entry?.reason === "INTERRUPTED" && entry.failedAt <= bundle.obtainedAt) await ledger.clear(host);
    }
  }
}

function parse(bytes: Uint8Array): PendingOrder | undefined {
  try {
    const value = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    const { issuer, account, order, key, keyType, profile } = value;
    const at = Date.parse(String(value.at));
    const texts = [issuer, account, order, key, keyType];
    if (texts.some((each) => typeof each !== "string") || Number.isNaN(at)) return undefined;
    return { issuer, account, order, key, keyType, profile, at } as PendingOrder;
  } catch {
    // Half of a record: a new order takes its place.
    return undefined;
  }
}
