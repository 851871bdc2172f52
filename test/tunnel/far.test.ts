/** 100 MB; `MEGABYTES=1000 npx vitest run test/tunnel/far.test.ts` for a gigabyte, and `ROUND_TRIP_MS=0` for a short line. */
import { expect, test } from "vitest";
import { far } from "./far.ts";
import { PAIRS } from "./processes.ts";

const MEGABYTES = Number(process.env.MEGABYTES ?? 100);
const ROUND_TRIP_MS = Number(process.env.ROUND_TRIP_MS ?? 100);

test.each(PAIRS)(
  `${MEGABYTES} MB over a line of ${ROUND_TRIP_MS} ms arrive whole: edge %s, agent %s`,
  async (...pair) => {
    const report = await far(MEGABYTES * 1e6, ROUND_TRIP_MS, pair);
    console.log(`${report.megabytesPerSecond.toFixed(1)} MB/s`);
    expect(report).toMatchObject({ bytes: MEGABYTES * 1e6, whole: true });
  },
  60_000 + MEGABYTES * 200,
);
