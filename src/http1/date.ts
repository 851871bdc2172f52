/** The Date field with its line end, made at most once a second. */
import type { Clock } from "../clock.ts";
import { sweepsOf } from "../exchange/rounds.ts";

const made = new WeakMap<Clock, { readonly round: number; readonly line: string }>();

export function dateLine(clock: Clock): string {
  const round = sweepsOf(clock).now;
  const kept = made.get(clock);
  if (kept !== undefined && kept.round === round) return kept.line;
  const line = `Date: ${new Date(clock.wall()).toUTCString()}\r\n`;
  made.set(clock, { round, line });
  return line;
}
