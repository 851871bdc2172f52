/** Tokens in storage: made and revoked by commands, looked up and watched by edges. */
import { type Clock, sleep } from "../clock.ts";
import { EdgeError, messageOf } from "../errors.ts";
import {
  formatToken,
  matches,
  mintToken,
  parseToken,
  recordOf,
  type Token,
  type TokenRecord,
} from "./token.ts";

const PREFIX = "tokens/";

/** The part of a storage that tokens need. */
export interface TokenStorage {
  load(key: string): Promise<Uint8Array | undefined>;
  store(key: string, value: Uint8Array): Promise<void>;
  delete(key: string): Promise<void>;
  list(prefix: string): Promise<string[]>;
}

export type Verdict =
  | {
      readonly ok: true;
      readonly id: string;
      readonly backend: string;
      readonly expiresAt: number | undefined;
    }
  /** `permanent`: the same token will never do. */
  | { readonly ok: false; readonly reason: string; readonly permanent: boolean };

export interface TokenBook {
  /** Makes a token; the returned text is the only copy of its secret. */
  create(
    facts: Pick<Token, "backend" | "address" | "pin">,
    lifetimeMs?: number,
  ): Promise<{ id: string; text: string; expiresAt: number | undefined }>;
  /** Oldest first. */
  list(): Promise<TokenRecord[]>;
  /** False where there is none of that id. */
  revoke(id: string): Promise<boolean>;
  /** Whether a token opens a session now. */
  check(text: string): Promise<Verdict>;
  /** Tells, about every `everyMs` until `signal` aborts, which ids are still there. */
  watch(everyMs: number, signal: AbortSignal, onIds: (ids: ReadonlySet<string>) => void): void;
}

export function createTokenBook(storage: TokenStorage, clock: Clock): TokenBook {
  const load = async (key: string): Promise<TokenRecord | undefined> => {
    const bytes = await storage.load(key);
    if (bytes === undefined) return undefined;
    try {
      return JSON.parse(new TextDecoder().decode(bytes)) as TokenRecord;
    } catch (cause) {
      throw new EdgeError("STORAGE_CORRUPT", `${key} cannot be read: revoke that token and make another`, {
        source: "storage",
        cause,
      });
    }
  };
  return {
    async create(facts, lifetimeMs) {
      const token = mintToken(facts);
      const now = clock.wall();
      const record = recordOf(token, now, lifetimeMs === undefined ? undefined : now + lifetimeMs);
      await storage.store(PREFIX + token.id, new TextEncoder().encode(JSON.stringify(record)));
      return { id: token.id, text: formatToken(token), expiresAt: record.expiresAt };
    },
    async list() {
      const records = await Promise.all((await storage.list(PREFIX)).map(load));
      return records.filter((record) => record !== undefined).sort((a, b) => a.createdAt - b.createdAt);
    },
    async revoke(id) {
      const key = PREFIX + id;
      if (!/^[0-9a-f]{16}$/.test(id) || (await storage.load(key)) === undefined) return false;
      await storage.delete(key);
      return true;
    },
    async check(text) {
      let token: Token;
      try {
        token = parseToken(text);
      } catch {
        return { ok: false, reason: "the token is malformed", permanent: true };
      }
      let record: TokenRecord | undefined;
      try {
        record = await load(PREFIX + token.id);
      } catch (error) {
        return { ok: false, reason: `the edge cannot look it up: ${messageOf(error)}`, permanent: false };
      }
      // Compared even where there is none, so that time does not tell which ids exist.
      const known = matches(record ?? recordOf(token, 0, 0), token.secret);
      if (record === undefined || !known)
        return { ok: false, reason: "the token is unknown or was revoked", permanent: true };
      if (record.expiresAt !== undefined && record.expiresAt <= clock.wall())
        return { ok: false, reason: "the token has expired", permanent: true };
      // The record's backend counts, whatever the token says.
      return { ok: true, id: record.id, backend: record.backend, expiresAt: record.expiresAt };
    },
    watch(everyMs, signal, onIds) {
      const run = async (): Promise<void> => {
        while (!signal.aborted) {
          try {
            await sleep(clock, everyMs, signal);
            const keys = await storage.list(PREFIX);
            if (!signal.aborted) onIds(new Set(keys.map((key) => key.slice(PREFIX.length))));
          } catch {
            // Aborted, or storage is away for a moment: sessions go on with what was known.
          }
        }
      };
      void run();
    },
  };
}
