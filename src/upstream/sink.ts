/** For those who ask why a server was picked: what was looked at before. */
import type { PlaceReason } from "./locations.ts";
import type { Member } from "./member.ts";

/** Hears of one pick. */
export interface PickSink {
  /** A server that was looked at; the one that is picked is among them. */
  weighed(server: string, latencyMs: number, inFlight: number, weight: number, load: number): void;
  /** Where the picked one is, where locations count, and why there. */
  placed(location: string | undefined, why: PlaceReason): void;
}

/** Says what the balancer knows of a member. A server that is not measured yet counts as usual. */
export function tell(sink: PickSink, { id, load, busy, share }: Member, now: number, usual: number): void {
  const latencyMs = load.warm ? load.read(now, usual / 2) : usual;
  sink.weighed(id, latencyMs, busy, share, (latencyMs * (busy + 1)) / share);
}
