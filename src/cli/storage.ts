/** The storage of edges, for as long as a command needs it. */
import { systemClock } from "../clock.ts";
import type { ResolvedConfig } from "../config/config.ts";
import { openStorage } from "../edge/storage.ts";
import { type Log, silentLog } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { actAsOwner } from "./owner.ts";

export type Place = Pick<ResolvedConfig, "storage" | "fleet">;

export interface Opening {
  /** @default silent */
  readonly log?: Log;
  /** Whether it must be there and take what is written before work begins. @default true */
  readonly check?: boolean;
}

export async function withStorage<T>(
  place: Place,
  work: (storage: Storage) => Promise<T>,
  { log = silentLog, check = true }: Opening = {},
): Promise<T> {
  const storage = openStorage(place, { clock: systemClock, log });
  try {
    if (check) await storage.check();
    return await work(storage);
  } finally {
    await storage.close();
  }
}

/** As {@link withStorage}, as the user that the storage belongs to: for who writes. */
export async function asOwnerOf<T>(place: Place, work: (storage: Storage) => Promise<T>): Promise<T> {
  await actAsOwner(place.storage);
  return withStorage(place, work);
}
