/** The Date field, made once a second. */
import type { Clock } from "../clock.ts";
import { HpackWriter } from "./hpack.ts";

const made = new WeakMap<Clock, { second: number; block: Buffer }>();
const writer = new HpackWriter();

/** The encoded `date` field of this second. */
export function dateField(clock: Clock): Buffer {
  const wall = clock.wall();
  const second = Math.floor(wall / 1000);
  const kept = made.get(clock);
  if (kept !== undefined && kept.second === second) return kept.block;
  writer.length = 0;
  writer.field("date", new Date(wall).toUTCString());
  const block = writer.take();
  made.set(clock, { second, block });
  return block;
}
