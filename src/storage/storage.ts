/** Where an edge keeps what must outlive it: certificates, the ACME account, the ledger of failures. */

/**
 * A small key-value store. Keys are slash-separated, from `[A-Za-z0-9._=-]` per segment, no empty, "." or ".." segment.
 *
 * Implementers MUST: make `store` atomic (a reader or a crash sees the old value or the new) and durable before it
 * resolves; keep values from other users of the machine; reject with EdgeError STORAGE_UNREADABLE, STORAGE_UNWRITABLE
 * or STORAGE_CORRUPT that names the place and what to do. `withLock` excludes others on a best-effort basis: callers
 * MUST look again after they got the lock, and work inside MUST tolerate running twice.
 */
export interface Storage {
  /** The value, or undefined where there is none. */
  load(key: string): Promise<Uint8Array | undefined>;
  store(key: string, value: Uint8Array): Promise<void>;
  /** Nothing happens where there is none. */
  delete(key: string): Promise<void>;
  /** All keys below a prefix ("certificates/"), in no particular order. */
  list(prefix: string): Promise<string[]>;
  /** Runs `work` while nobody else holds `name`; its signal aborts when the lock is lost. Waits until `signal` aborts. */
  withLock<T>(name: string, work: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T>;
  /** Throws what an operator must know before start: unwritable, wrong permissions. */
  check(): Promise<void>;
  close(): Promise<void>;
}
