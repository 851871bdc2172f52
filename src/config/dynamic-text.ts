/** Dynamic hosts and servers as one stored value: JSON, and compressed where it is long. */
import { gunzipSync, gzipSync } from "node:zlib";
import { EdgeError } from "../errors.ts";
import { type DynamicServer, type DynamicState, NOTHING_DYNAMIC } from "./dynamic.ts";
import { isRecord, isServer, type Unread } from "./unread.ts";

const FORMAT = 1;
/** A value in NATS has its bounds: ten thousand hosts fit well once they are compressed. */
const COMPRESS_BYTES = 32 * 1024;
/** No more is unpacked, whatever is stored: a hundred thousand hosts take a tenth. */
const MOST_BYTES = 64 * 1024 * 1024;

export function encodeDynamic({ generation, hosts, servers, unread }: DynamicState): Uint8Array {
  const lists = new Map<string, readonly unknown[]>(servers);
  for (const [name, list] of unread?.servers ?? []) lists.set(name, [...(lists.get(name) ?? []), ...list]);
  const text = JSON.stringify({
    ...unread?.rest,
    format: FORMAT,
    generation,
    hosts: Object.fromEntries([...hosts, ...(unread?.hosts ?? [])]),
    servers: Object.fromEntries(lists),
  });
  const bytes = Buffer.from(text);
  return bytes.length > COMPRESS_BYTES ? gzipSync(bytes) : bytes;
}

/** @throws EdgeError STORAGE_CORRUPT */
export function decodeDynamic(bytes: Uint8Array | undefined, key: string): DynamicState {
  if (bytes === undefined) return NOTHING_DYNAMIC;
  let value: Record<string, unknown>;
  try {
    const text = bytes[0] === 0x1f ? gunzipSync(bytes, { maxOutputLength: MOST_BYTES }) : Buffer.from(bytes);
    value = JSON.parse(text.toString("utf8")) as Record<string, unknown>;
  } catch (cause) {
    throw corrupt(key, "it is no JSON", cause);
  }
  const { format, generation, hosts, servers, ...rest } = value ?? {};
  if (format !== FORMAT)
    throw corrupt(key, `its format is ${JSON.stringify(format)}, and this Skerry knows ${FORMAT}`);
  if (!Number.isSafeInteger(generation) || !isRecord(hosts) || !isRecord(servers))
    throw corrupt(key, "fields are missing");
  const named = Object.entries(hosts);
  const lists = Object.entries(servers).map(([name, list]): [string, unknown[]] => [
    name,
    Array.isArray(list) ? list : [list],
  ]);
  const unread: Unread = {
    hosts: new Map(named.filter(([, backend]) => typeof backend !== "string")),
    servers: listsOf(lists, (each) => !isServer(each)),
    rest,
  };
  const isWhole = unread.hosts.size === 0 && unread.servers.size === 0 && Object.keys(rest).length === 0;
  return {
    generation: generation as number,
    hosts: new Map(named.filter((entry): entry is [string, string] => typeof entry[1] === "string")),
    servers: listsOf(lists, isServer) as Map<string, DynamicServer[]>,
    ...(!isWhole && { unread }),
  };
}

/** What fits of each list, and the lists of which something does. */
function listsOf(
  lists: readonly [string, unknown[]][],
  fits: (each: unknown) => boolean,
): Map<string, unknown[]> {
  const kept = lists.map(([name, list]): [string, unknown[]] => [name, list.filter(fits)]);
  return new Map(kept.filter(([, list]) => list.length > 0));
}

function corrupt(key: string, what: string, cause?: unknown): EdgeError {
  return new EdgeError("STORAGE_CORRUPT", `storage: ${key} cannot be read: ${what}`, {
    source: "storage",
    cause,
  });
}
