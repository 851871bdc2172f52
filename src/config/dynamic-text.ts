/** Dynamic hosts and servers as one stored value: JSON, and compressed where it is long. */
import { gunzipSync, gzipSync } from "node:zlib";
import { EdgeError } from "../errors.ts";
import { type DynamicServer, type DynamicState, NOTHING_DYNAMIC } from "./dynamic.ts";
import { locationProblem } from "./location.ts";

const FORMAT = 1;
/** A value in NATS has its bounds: ten thousand hosts fit well once they are compressed. */
const COMPRESS_BYTES = 32 * 1024;
/** No more is unpacked, whatever is stored: a hundred thousand hosts take a tenth. */
const MOST_BYTES = 64 * 1024 * 1024;

export function encodeDynamic({ generation, hosts, servers }: DynamicState): Uint8Array {
  const text = JSON.stringify({
    format: FORMAT,
    generation,
    hosts: Object.fromEntries(hosts),
    servers: Object.fromEntries(servers),
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
  const { format, generation, hosts, servers } = value ?? {};
  if (format !== FORMAT)
    throw corrupt(key, `its format is ${JSON.stringify(format)}, and this Skerry knows ${FORMAT}`);
  if (!Number.isSafeInteger(generation) || !isRecord(hosts) || !isRecord(servers))
    throw corrupt(key, "fields are missing");
  return {
    generation: generation as number,
    hosts: new Map(
      Object.entries(hosts).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
    ),
    servers: new Map(
      Object.entries(servers)
        .map(([name, list]): [string, DynamicServer[]] => [
          name,
          Array.isArray(list) ? list.filter(isServer) : [],
        ])
        .filter(([, list]) => list.length > 0),
    ),
  };
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isPlace = (value: unknown): boolean => value === undefined || locationProblem(value) === undefined;

function isServer(value: unknown): value is DynamicServer {
  return (
    isRecord(value) &&
    typeof value.url === "string" &&
    typeof value.weight === "number" &&
    isPlace(value.location)
  );
}

function corrupt(key: string, what: string, cause?: unknown): EdgeError {
  return new EdgeError("STORAGE_CORRUPT", `storage: ${key} cannot be read: ${what}`, {
    source: "storage",
    cause,
  });
}
