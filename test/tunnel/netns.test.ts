/** Edge and agents in two networks whose cable is pulled: no packet says so, to either end. Needs root. */
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createNets, type Nets, netnsMissing, wayInto } from "../support/netns.ts";
import { type Child, eventually } from "../support/processes.ts";
import { LEFT, logged, serverOf } from "./faults.ts";
import { load } from "./load.ts";
import { ask, joined, PAIRS, type World, world, wormhole } from "./processes.ts";

const missing = netnsMissing();
/** From the last byte that came, with some air for a busy machine. */
const MOST_OUT_MS = 4000;
const MOST_GONE_MS = 11_500;
const MOST_BACK_MS = 5000;
/** The edge's end and the agent's, whose own kernel then says that there is no way. */
const ENDS = ["left", "right"] as const;

describe.skipIf(missing !== undefined)(`a pulled cable${missing ? ` (skipped: ${missing})` : ""}`, () => {
  describe.each(PAIRS)("between an edge on %s and an agent on %s", (edgeRuntime, runtime) => {
    let nets: Nets;
    let at: World;
    let far: Child;
    beforeAll(async () => {
      nets = createNets();
      const { left, right } = nets;
      const port = 8443;
      const made = await world(edgeRuntime, {
        port,
        under: left.under,
        config: {
          listen: { http: "127.0.0.1:0", https: `0.0.0.0:${port}`, admin: "127.0.0.1:0" },
          tunnel: { address: `${left.address}:${port}` },
        },
      });
      const way = join(made.storage, "way.sock");
      await wayInto(left, port, way);
      at = { ...made, way };
      const near = wormhole(runtime, at.token, "near", { under: left.under });
      far = wormhole(runtime, at.token, "far", { under: right.under });
      await Promise.all([joined(near), joined(far)]);
    });
    afterAll(async () => {
      await at.edge.stop();
      nets.close();
    });

    test.each(ENDS.slice(0, edgeRuntime === "node" || PAIRS.length > 3 ? 2 : 1))(
      "(%s end) costs no request, and plugged in it is found at once",
      async (end) => {
        const server = await serverOf(at, "far");
        const joins = (): number => far.stderr().split('"wormhole.joined"').length - 1;
        const lost = (): number => far.stderr().split('"wormhole.lost"').length - 1;
        const before = { joins: joins(), lost: lost() };
        const stop = load(at);
        await pause(700);

        const from = Date.now();
        nets[end].cable("down");
        const outMs = await eventually("it is out of rotation", () => logged(at, server, LEFT, from));
        const goneMs = await eventually("the edge gives it up", () =>
          logged(at, server, ["server.removed"], from),
        );
        await eventually("the agent gives the edge up", () => lost() >= before.lost + 2);
        const lostMs = Date.now() - from;
        // The edge's other wormhole goes on meanwhile, and the agent tries in vain.
        await pause(1500);
        expect(joins()).toBe(before.joins);

        nets[end].cable("up");
        const up = performance.now();
        await eventually("it is back", () => joins() >= before.joins + 2);
        const backMs = performance.now() - up;
        const { failures, cut, requests, slowestMs } = await stop();
        await eventually("it serves again", async () => (await ask(at)).body === "far");
        console.log(
          `${edgeRuntime} ← ${runtime}, ${end} end: out of rotation after ${outMs} ms, given up after ${goneMs} ms, by the agent after ${lostMs} ms, back after ${Math.round(backMs)} ms, ${requests} requests, slowest ${Math.round(slowestMs)} ms`,
        );
        expect(failures).toEqual([]);
        expect(cut.length, cut.join("\n")).toBeLessThanOrEqual(1);
        expect(outMs).toBeLessThan(MOST_OUT_MS);
        expect(goneMs).toBeLessThan(MOST_GONE_MS);
        expect(lostMs).toBeLessThan(MOST_GONE_MS);
        expect(backMs).toBeLessThan(MOST_BACK_MS);
      },
      60_000,
    );
  });
});
