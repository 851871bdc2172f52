/** From the config's `storage` to what stores. */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Clock } from "../clock.ts";
import type { ResolvedConfig } from "../config/config.ts";
import { type FleetConfig, fillFleet } from "../config/fleet.ts";
import { EdgeError, messageOf } from "../errors.ts";
import type { Log } from "../log.ts";
import { openFilesystemStorage } from "../storage/filesystem.ts";
import { createMemoryStorage } from "../storage/memory.ts";
import { type NatsStorageOptions, openNatsStorage } from "../storage/nats.ts";
import { parseFleetKeys } from "../storage/seal.ts";
import type { Storage } from "../storage/storage.ts";

/** @throws EdgeError CONFIG_INVALID for a missing or malformed fleet key */
export function openStorage(
  { storage: place, fleet }: Pick<ResolvedConfig, "storage" | "fleet">,
  parts: { clock: Clock; log: Log },
): Storage {
  if (place === "memory:") return createMemoryStorage();
  if (place.startsWith("file://")) return openFilesystemStorage(fileURLToPath(place), parts);
  if (place.startsWith("file:")) return openFilesystemStorage(place.slice("file:".length), parts);
  const files = { absolute: (path: string) => resolve(path), read: () => "" };
  const nats = fleet ?? fillFleet(place, undefined, files);
  if (nats) return openNatsStorage({ ...natsOptions(nats), ...parts });
  throw new EdgeError("CONFIG_INVALID", `storage: "${place}" is not a place to store: use file:FOLDER`, {
    source: "operator",
  });
}

/** What a config says of NATS, with its secrets read. */
export function natsOptions(fleet: FleetConfig): Pick<NatsStorageOptions, "place" | "keys" | "copy"> {
  const { servers, bucket, replicas, tls, copy } = fleet;
  const credentials =
    fleet.credentialsFile === undefined
      ? fleet.credentials
      : readSecret(fleet.credentialsFile, "storage.nats.credentials");
  return { place: { servers, bucket, replicas, tls, credentials }, keys: fleetKeys(fleet), copy };
}

/** From the file that the config names, or the environment. */
export function fleetKeys({ keyFile }: Pick<FleetConfig, "keyFile">): Buffer[] {
  if (keyFile !== undefined) return parseFleetKeys(readSecret(keyFile, "fleetKey"), keyFile);
  const text = process.env.SKERRY_FLEET_KEY;
  if (text !== undefined && text.trim() !== "") return parseFleetKeys(text, "SKERRY_FLEET_KEY");
  throw new EdgeError(
    "CONFIG_INVALID",
    "storage: values in NATS are sealed, and there is no fleet key: set SKERRY_FLEET_KEY or fleetKey to the one that all " +
      'edges of the fleet have; "skerry fleet key" makes the first',
    { source: "operator" },
  );
}

function readSecret(path: string, field: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new EdgeError("CONFIG_UNREADABLE", `${field}: cannot read ${path} (${messageOf(cause)})`, {
      source: "operator",
      cause,
    });
  }
}
