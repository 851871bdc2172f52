/** The edge's account at a CA: one for the whole fleet, made once, kept in storage. */
import { createHash, createPublicKey, generateKeyPair } from "node:crypto";
import { promisify } from "node:util";
import type { AcmeConfig } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { type Connection, connect } from "./acme.ts";
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
  /** Told as soon as a key is known, before the CA is. */
  onThumbprint(thumbprint: string): void;
}

export interface Accounts {
  /** What storage holds, without asking the CA. */
  load(): Promise<Account | undefined>;
  /** The account, registered where it is not yet. */
  ensure(signal: AbortSignal): Promise<Account>;
  /** The CA does not know `url`: registers the same key again. */
  replace(url: string, signal: AbortSignal): Promise<Account>;
  connect(account: Account, signal: AbortSignal): Connection;
}

export function createAccounts(options: AccountsOptions): Accounts {
  const { issuerName, config, storage, transport, wall, onThumbprint } = options;
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
      transport,
      signal,
      wall,
    });

  const register = async (lost: string | undefined, signal: AbortSignal): Promise<Account> => {
    return storage.withLock(
      `account/${issuerName}`,
      async (held) => {
        // Another edge may have been first.
        const stored = await load();
        if (stored?.url !== undefined && stored.url !== lost) return stored;
        // The key is stored before the CA sees it: an account whose key is lost could never be used again.
        const { key } = stored ?? (await save({ key: await newKey(), url: undefined }));
        const { client } = open({ key, url: undefined }, AbortSignal.any([signal, held]));
        await client.createAccount({
          termsOfServiceAgreed: config.agreeToTerms,
          ...(config.email !== undefined && { contact: [`mailto:${config.email}`] }),
        });
        return save({ key, url: client.getAccountUrl() });
      },
      signal,
    );
  };

  return {
    load,
    async ensure(signal) {
      const account = known ?? (await load());
      return account?.url === undefined ? register(undefined, signal) : account;
    },
    replace: (url, signal) => register(url, signal),
    connect: open,
  };
}

/** Whether the CA says that it does not know the account. */
export function isAccountLost(thrown: unknown): boolean {
  return problemOf(thrown)?.type === "accountDoesNotExist";
}

/** RFC 7638 §3: SHA-256 of the public key's required members, in this order and without spaces. */
export function thumbprintOf(key: string): string {
  const { crv, kty, x, y } = createPublicKey(key).export({ format: "jwk" });
  return createHash("sha256").update(JSON.stringify({ crv, kty, x, y })).digest("base64url");
}

/** A new P-256 key as PKCS#8 PEM, made off the event loop. */
export async function newKey(): Promise<string> {
  const { privateKey } = await promisify(generateKeyPair)("ec", { namedCurve: "P-256" });
  return privateKey.export({ type: "pkcs8", format: "pem" }) as string;
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
