/** A lock that is waited for without keeping others waiting: an edge that died may hold it for half a minute. */
import type { Clock } from "../clock.ts";
import type { Storage } from "../storage/storage.ts";
import type { Place } from "./limiter.ts";

/** Peers that order at once take turns within a few of these, and whoever waits longer lets others order meanwhile. */
const PATIENCE_MS = 1000;

/** As `withLock`; the place is lent where the lock does not come soon. Work asks for it back when it needs it. */
export async function withLockLending<T>(
  { storage, clock, place }: { storage: Storage; clock: Clock; place: Place },
  name: string,
  work: (signal: AbortSignal) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const patience = clock.after(PATIENCE_MS, () => place.lend());
  try {
    return await storage.withLock(
      name,
      (locked) => {
        patience.cancel();
        return work(locked);
      },
      signal,
    );
  } finally {
    patience.cancel();
  }
}
