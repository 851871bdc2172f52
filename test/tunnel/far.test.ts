/**
 * 100 MB each way. `MEGABYTES=10000 ROUND_TRIP_MS=0 npx vitest run test/tunnel/far.test.ts` for ten gigabytes over a short
 * line, `TUNNEL_PAIRS=all` for every pair of runtimes.
 */
import { expect, test } from "vitest";
import { far } from "./far.ts";
import { PAIRS } from "./processes.ts";

const MEGABYTES = Number(process.env.MEGABYTES ?? 100);
const ROUND_TRIP_MS = Number(process.env.ROUND_TRIP_MS ?? 100);
/** Of the edge and of the agent, each, however long the body. */
const MOST_PEAK_MEGABYTES = 400;

test.each(PAIRS)(
  `${MEGABYTES} MB each way over a line of ${ROUND_TRIP_MS} ms arrive whole: edge %s, agent %s`,
  async (...pair) => {
    const { bytes, whole, megabytesPerSecond, seconds, peaks } = await far(
      MEGABYTES * 1e6,
      ROUND_TRIP_MS,
      pair,
    );
    const [down, up] = megabytesPerSecond.map(
      (speed, at) => `${speed.toFixed(1)} MB/s in ${seconds[at]!.toFixed(0)} s`,
    );
    const [edge, agent] = peaks.map((peak) => `${peak.toFixed(0)} MB`);
    console.log(
      `${pair.join(" ← ")}: down ${down}, up ${up}; at most ${edge} in the edge, ${agent} in the agent`,
    );
    expect(bytes).toEqual([MEGABYTES * 1e6, MEGABYTES * 1e6]);
    expect(whole).toEqual([true, true]);
    for (const peak of peaks) expect(peak).toBeLessThan(MOST_PEAK_MEGABYTES);
  },
  90_000 + MEGABYTES * 200,
);
