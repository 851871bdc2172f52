/** Follows a whole bucket: which keys there are, and every change as it happens, in order and without gaps. */
import type { KvWatchEntry } from "@nats-io/kv";
import type { QueuedIterator } from "@nats-io/transport-node";
import type { Bucket } from "./nats-bucket.ts";

export interface Change {
  /** As encoded. */
  readonly key: string;
  readonly revision: number;
  /** Undefined: it was deleted. */
  readonly value: Uint8Array | undefined;
  /** Whether this process wrote it. */
  readonly own: boolean;
}

export interface Mirror {
  /** Follows a bucket from its beginning, which is another one than before; resolves when all that it held was seen. */
  begin(bucket: Bucket): Promise<void>;
  /** Follows on from where it is, over a new consumer: the old one went down with its server. */
  resume(bucket: Bucket): Promise<void>;
  /** The last revision that was seen. */
  readonly seen: number;
  /** Encoded keys of values. */
  keys(): Iterable<string>;
  has(key: string): boolean;
  /** What this process writes counts at once, and its echo is known, which may come before the answer to the write. */
  write(
    key: string,
    value: Uint8Array | undefined,
    work: () => Promise<number | undefined>,
  ): Promise<number | undefined>;
  stop(): void;
}

export function createMirror(onChange: (change: Change) => void): Mirror {
  /** The last write to each key; deletions of our own stay until their echo. */
  const known = new Map<string, { revision: number; gone: boolean }>();
  /** Sealed values are never twice the same, so an echo is told by its value. */
  const writing = new Set<Uint8Array>();
  let seen = 0;
  let running: QueuedIterator<KvWatchEntry> | undefined;

  const take = (entry: KvWatchEntry): void => {
    const { key, revision, operation, value } = entry;
    seen = Math.max(seen, revision);
    const before = known.get(key);
    if (before && before.revision > revision) return;
    const gone = operation !== "PUT";
    if (gone) known.delete(key);
    else known.set(key, { revision, gone });
    const own =
      before?.revision === revision ||
      [...writing].some((each) => each.length === value.length && Buffer.compare(each, value) === 0);
    onChange({ key, revision, value: gone ? undefined : value, own });
  };

  const follow = async (bucket: Bucket, from: number): Promise<void> => {
    running?.stop();
    const { lastRevision } = await bucket.facts();
    const entries = await bucket.kv.watch(from > 0 ? { resumeFromRevision: from } : {});
    running = entries;
    await new Promise<void>((caughtUp) => {
      // The last message of a bucket may be gone, so its number alone does not tell the end.
      if (lastRevision < from || lastRevision === 0) caughtUp();
      void (async () => {
        for await (const entry of entries) {
          take(entry);
          if (entry.revision >= lastRevision || entry.delta === 0) caughtUp();
        }
      })()
        // A consumer that was lost is noticed by what is missed, and another one made.
        .catch(() => {})
        .finally(caughtUp);
    });
  };

  return {
    get seen() {
      return seen;
    },
    begin(bucket) {
      known.clear();
      seen = 0;
      return follow(bucket, 0);
    },
    resume: (bucket) => follow(bucket, seen + 1),
    *keys() {
      for (const [key, { gone }] of known) if (!gone) yield key;
    },
    has: (key) => known.get(key)?.gone === false,
    async write(key, value, work) {
      if (value) writing.add(value);
      try {
        const revision = await work();
        const before = known.get(key);
        if (revision !== undefined && (!before || before.revision < revision))
          known.set(key, { revision, gone: value === undefined });
        return revision;
      } finally {
        if (value) writing.delete(value);
      }
    },
    stop: () => running?.stop(),
  };
}
