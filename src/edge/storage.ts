/** From the config's `storage` to what stores. */
import { fileURLToPath } from "node:url";
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { Log } from "../log.ts";
import { openFilesystemStorage } from "../storage/filesystem.ts";
import { createMemoryStorage } from "../storage/memory.ts";
import type { Storage } from "../storage/storage.ts";

export function openStorage(place: string, parts: { clock: Clock; log: Log }): Storage {
  if (place === "memory:") return createMemoryStorage();
  if (place.startsWith("file://")) return openFilesystemStorage(fileURLToPath(place), parts);
  if (place.startsWith("file:")) return openFilesystemStorage(place.slice("file:".length), parts);
  throw new EdgeError("CONFIG_INVALID", `storage: "${place}" is not a place to store: use file:FOLDER`, {
    source: "operator",
  });
}
