/** The edge's account at a CA: one for the whole fleet, made once, kept in storage. */
import { createHash, createPublicKey } from "node:crypto";
import type { AcmeConfig } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { type AcmeClient, type Connection, connect, createShared, type Shared } from "./acme.ts";
import { newKey } from "./certificate-key.ts";
import { problemOf } from "./problem.ts";
import type { Transport } from "./transport.ts";

export interface Account {
  /** PKCS#8 PEM, P-256. */
  readonly key: string;
  /** Undefined until the CA has it. */
  readonly url: string | undefined;
}

export interface AccountsOptions {
  issuerName: string;
  config: AcmeConfig;
  storage: Storage;
  transport: Transport;
  wall: () => number;
  log: Log;
  /** What its connections have in common. @default a new one */
  shared?: Shared;
  /** Told as soon as a key is known, before the CA is. */
  onThumbprint(thumbprint: string): void;
}

export type AccountLoss = "forgotten" | "closed";

export interface Accounts {
  /** What storage holds, without asking the CA. */
  load(): Promise<Account | undefined>;
  /** The account, registered where it is not yet. */
  ensure(signal: AbortSignal): Promise<Account>;
  /** The CA no longer takes `lost`: one that it forgot registers with the same key, one that it closed with another. */
  replace(lost: Account, why: AccountLoss, signal: AbortSignal): Promise<Account>;
  connect(account: Account, signal: AbortSignal): Connection;
}

export function createAccounts(options: AccountsOptions): Accounts {
  const {
    issuerName,
    config,
    storage,
    transport,
    wall,
    log,
    onThumbprint,
    shared = createShared(),
  } = options;
  const storageKey = `accounts/${issuerName}/account`;
  let known: Account | undefined;

  const remember = (account: Account): Account => {
    if (known?.key !== account.key) onThumbprint(thumbprintOf(account.key));
    known = account;
    return account;
  };
  const load = async (): Promise<Account | undefined> => {
    const bytes = await storage.load(storageKey);
    return bytes && remember(parseAccount(bytes, storageKey));
  };
  const setAside = async (bytes: Uint8Array, reason: string): Promise<void> => {
    const aside = `set-aside/${storageKey}/${wall()}`;
    log.error("account.set_aside", { issuer: issuerName, reason, setAside: aside });
    await storage.store(aside, bytes);
  };
  /** As `load`, under the lock: a damaged account makes place for a new one, or no host would ever be renewed again. */
  const loadOrRepair = async (): Promise<Account | undefined> => {
    try {
      return await load();
    } catch (thrown) {
      if (!(thrown instanceof EdgeError) || thrown.code !== "STORAGE_CORRUPT") throw thrown;
      const bytes = await storage.load(storageKey);
      if (bytes) await setAside(bytes, thrown.message);
      return undefined;
    }
  };
  const save = async (account: Account): Promise<Account> => {
    const value = JSON.stringify({ version: 1, directory: config.directory, ...account }, null, 1);
    await storage.store(storageKey, new TextEncoder().encode(`${value}\n`));
    return remember(account);
  };
  const open = (account: Account, signal: AbortSignal): Connection =>
    connect({
      directory: config.directory,
      accountKey: account.key,
      accountUrl: account.url,
      shared,
      transport,
      signal,
      wall,
      eab: config.eab,
    });

  const register = async (
    lost: Account | undefined,
    why: AccountLoss,
    signal: AbortSignal,
  ): Promise<Account> => {
    return storage.withLock(
      `account/${issuerName}`,
      async (held) => {
        // Another edge may have been first.
        let stored = await loadOrRepair();
        if (stored?.url !== undefined && stored.url !== lost?.url) return stored;
        if (stored && lost && why === "closed") {
          const bytes = await storage.load(storageKey);
          if (bytes) await setAside(bytes, "the CA has closed the account");
          stored = undefined;
        }
        // The key is stored before the CA sees it: an account whose key is lost could never be used again.
        const { key } = stored ?? (await save({ key: await newKey(), url: undefined }));
        const { client } = open({ key, url: undefined }, AbortSignal.any([signal, held]));
        try {
          await client.createAccount({
            termsOfServiceAgreed: config.agreeToTerms,
            ...(config.email !== undefined && { contact: [`mailto:${config.email}`] }),
          });
        } catch (thrown) {
          // The CA has it: a run before this one was stopped in between. What failed is an update that tells nothing new.
          if (!isKnown(client)) throw thrown;
        }
        return save({ key, url: client.getAccountUrl() });
      },
      signal,
    );
  };

  return {
    load,
    async ensure(signal) {
      // What is damaged is repaired under the lock.
      const account = known ?? (await load().catch(() => undefined));
      return account?.url === undefined ? register(undefined, "forgotten", signal) : account;
    },
    replace: register,
    connect: open,
  };
}

/** Whether the CA says, to a new order, that the account is none, or none any more. */
export function accountLoss(thrown: unknown): AccountLoss | undefined {
  const problem = problemOf(thrown);
  if (problem?.type === "accountDoesNotExist") return "forgotten";
  // RFC 8555 §7.3.6: requests of a deactivated account are refused so. A name is refused otherwise, or later.
  if (problem?.type === "unauthorized" && /account/i.test(problem.detail)) return "closed";
  return undefined;
}

function isKnown(client: AcmeClient): boolean {
  try {
    return client.getAccountUrl() !== "";
  } catch {
    // It throws where there is none.
    return false;
  }
}

/** RFC 7638 §3: SHA-256 of the public key's required members, in this order and without spaces. */
export function thumbprintOf(key: string): string {
  const { crv, kty, x, y } = createPublicKey(key).export({ format: "jwk" });
  return createHash("sha256").update(JSON.stringify({ crv, kty, x, y })).digest("base64url");
}

function parseAccount(bytes: Uint8Array, storageKey: string): Account {
  try {
    const { key, url } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    if (typeof key !== "string") throw new Error("no key");
    thumbprintOf(key);
    return { key, url: typeof url === "string" ? url : undefined };
  } catch {
    // Without the parser's words: they may quote the key.
    throw new EdgeError(
      "STORAGE_CORRUPT",
      `${storageKey} cannot be read: restore it, or delete it for a new account`,
      {
        source: "storage",
      },
    );
  }
}
