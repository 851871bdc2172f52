/** One bucket of JetStream's key-value store, through its leader alone: who wrote a value reads it back. */
import { type JetStreamClient, type JetStreamManager, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type KV, Kvm } from "@nats-io/kv";
import { Empty, headers, type NatsConnection } from "@nats-io/transport-node";
import { type Clock, sleep } from "../clock.ts";
import { isConflict, isGone, isMissing, REQUEST_MS } from "./nats-connection.ts";

export interface Entry {
  /** As encoded. */
  readonly key: string;
  readonly value: Uint8Array;
  readonly revision: number;
}

export interface BucketFacts {
  /** When it was made: a bucket that was made anew counts revisions from one again. */
  readonly created: string;
  readonly lastRevision: number;
  readonly values: number;
  readonly replicas: number;
  readonly maxAgeMs: number;
  readonly maxValueBytes: number;
}

export interface Bucket {
  readonly kv: KV;
  get(key: string): Promise<Entry | undefined>;
  /** The revision of what was written last, marks of deletion too; 0 for nothing. */
  last(key: string): Promise<{ readonly revision: number; readonly value: Uint8Array | undefined }>;
  /** `after`: the revision that must be the last. Undefined: another one was. */
  put(key: string, value: Uint8Array, after?: number): Promise<number | undefined>;
  /**
   * Writes where there is nothing, not even a mark. Undefined: there is something. The one write that excludes others: a
   * cluster of nats-server 2.9 compares any other revision before it puts writes in order, so that two may pass at once.
   */
  create(key: string, value: Uint8Array): Promise<number | undefined>;
  /** Leaves a mark that watchers see. */
  remove(key: string): Promise<number>;
  /** Takes back one write as if it had not been. Nothing happens where it is gone. */
  undo(revision: number): Promise<void>;
  facts(): Promise<BucketFacts>;
}

export interface BucketOptions {
  readonly name: string;
  readonly replicas: number;
  /** Values vanish so long after they were written. */
  readonly maxAgeMs?: number;
  /** Whether it is made where it is not there. */
  readonly make: boolean;
  readonly clock: Clock;
}

export async function openBucket(connection: NatsConnection, options: BucketOptions): Promise<Bucket> {
  const settings = { timeout: REQUEST_MS };
  const js: JetStreamClient = jetstream(connection, settings);
  const manager: JetStreamManager = await jetstreamManager(connection, settings);
  const buckets = new Kvm(js);
  // Followers may answer with what was, so none is asked.
  const settled = { history: 1, replicas: options.replicas, allow_direct: false };
  const kv = options.make
    ? await buckets.create(options.name, {
        ...settled,
        ...(options.maxAgeMs !== undefined && { ttl: options.maxAgeMs }),
      })
    : await buckets.open(options.name, { allow_direct: false });
  const stream = `KV_${options.name}`;
  // What is asked before there is a leader is dropped, and would be waited for in vain.
  for (let tries = 0; tries < 40; tries++) {
    const { cluster } = await manager.streams.info(stream);
    if (!cluster?.name || cluster.leader) break;
    await sleep(options.clock, 50);
  }

  const publish = async (
    key: string,
    value: Uint8Array,
    header?: [name: string, value: string],
  ): Promise<number> => {
    const head = headers();
    if (header) head.set(...header);
    const ack = await js.publish(`$KV.${options.name}.${key}`, value, header ? { headers: head } : {});
    return ack.seq;
  };
  const publishAfter = async (key: string, value: Uint8Array, after: number): Promise<number | undefined> => {
    try {
      return await publish(key, value, ["Nats-Expected-Last-Subject-Sequence", String(after)]);
    } catch (thrown) {
      if (isConflict(thrown)) return undefined;
      throw thrown;
    }
  };
  const last = async (key: string): Promise<{ revision: number; value: Uint8Array | undefined }> => {
    const found = await kv.get(key).catch((thrown: unknown) => {
      if (isMissing(thrown)) return null;
      throw thrown;
    });
    if (!found) return { revision: 0, value: undefined };
    return { revision: found.revision, value: found.operation === "PUT" ? found.value : undefined };
  };

  return {
    kv,
    last,
    async get(key) {
      const { revision, value } = await last(key);
      return value && { key, value, revision };
    },
    put: (key, value, after) => (after === undefined ? publish(key, value) : publishAfter(key, value, after)),
    create: (key, value) => publishAfter(key, value, 0),
    remove: (key) => publish(key, Empty, ["KV-Operation", "DEL"]),
    async undo(revision) {
      await manager.streams.deleteMessage(stream, revision, false).catch((thrown: unknown) => {
        if (!isMissing(thrown) && !isGone(thrown)) throw thrown;
      });
    },
    async facts() {
      const { config, state, created } = await manager.streams.info(stream);
      return {
        created,
        lastRevision: state.last_seq,
        values: state.messages,
        replicas: config.num_replicas,
        maxAgeMs: config.max_age / 1e6,
        maxValueBytes: config.max_msg_size,
      };
    },
  };
}
