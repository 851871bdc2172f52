/** A few rounds; `ROUNDS=50 npx vitest run test/tunnel/rolling.test.ts` for all that is promised, `TUNNEL_PAIRS=all` for every pair. */
import { expect, test } from "vitest";
import { PAIRS, world } from "./processes.ts";
import { roll } from "./rolling.ts";

const ROUNDS = Number(process.env.ROUNDS ?? 3);

test.each(PAIRS)(
  `${ROUNDS} rounds of start-new, stop-old lose no request: edge %s, agents %s`,
  async (edgeRuntime, runtime) => {
    const at = await world(edgeRuntime);
    const { requests, failures, closes } = await roll(at, ROUNDS, runtime);
    expect(failures).toEqual([]);
    expect(requests).toBeGreaterThan(ROUNDS * 20);
    // WebSockets end by a proper close: the server's "going away", or ours at the end.
    expect([...closes.keys()].filter((code) => code !== 1001 && code !== 1000)).toEqual([]);
    await at.edge.stop();
  },
  60_000 + ROUNDS * 20_000,
);
