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
  /**
   * Tells of values below `prefix` that somebody else stored or deleted, until the returned function is called. Present
   * where that costs nothing; elsewhere callers look by themselves from time to time. A change may be told twice, and those
   * made while the storage was away are told when it is back.
   */
  watch?(prefix: string, onChange: (key: string) => void): () => void;
  /**
   * Replaces a value by what `change` makes of it, with nobody writing in between; `change` may be called again when
   * somebody did. It gives undefined to leave the value as it is. Resolves with whether it was replaced.
   */
  update?(key: string, change: (current: Uint8Array | undefined) => Uint8Array | undefined): Promise<boolean>;
  /**
   * Puts a value that could not be stored where this edge finds it when it starts without the storage, and nobody else does.
   * What the storage says next takes its place.
   */
  keep?(key: string, value: Uint8Array): Promise<void>;
  /** Undefined while all is well; otherwise since when, on the wall clock, and why only a local copy is at hand. */
  away?(): { readonly since: number; readonly reason: string } | undefined;
}
