/** Two edges with one storage and one wormhole at both: an edge may stop, die and start again beside the other. */
import { expect, test } from "vitest";
import { startEdge } from "../support/edge.ts";
import { type Child, eventually } from "../support/processes.ts";
import { load } from "./load.ts";
import { ask, PAIRS, world, wormhole } from "./processes.ts";

/** How often a wormhole joined something; two for each edge. */
const joins = (agent: Child): number => agent.stderr().split('"wormhole.joined"').length - 1;

test.each(PAIRS)(
  "an edge (%s; agent %s) that drains or dies costs no request at the other, and is joined again within two seconds",
  async (runtime, agentRuntime) => {
    const stays = await world(runtime);
    const first = await world(runtime, { storage: stays.storage, config: { drainTimeoutMs: 3000 } });
    const agent = wormhole(agentRuntime, first.token, "statler");
    await eventually("both edges are joined", () => joins(agent) >= 4);
    const stop = load(stays);

    // It drains: agents hear of it, and what is in flight is finished.
    const slow = ask(first, "/slow?ms=600&tell");
    await agent.saw(/a slow one is here/);
    const ended = first.edge.stop();
    await agent.saw(/wormhole\.edge_leaving/);
    expect((await slow).status).toBe(200);
    expect((await ended).code).toBe(0);

    // It starts again, and then dies without a word.
    for (const round of [1, 2]) {
      const before = joins(agent);
      const edge = await startEdge(runtime, first.config);
      const readyAt = performance.now();
      await eventually("the edge is joined again", () => joins(agent) >= before + 2);
      expect(performance.now() - readyAt).toBeLessThan(2000);
      expect((await ask({ ...first, edge })).body).toBe("statler");
      if (round === 1) edge.process.signal("SIGKILL");
      await (round === 1 ? edge.process.ended : edge.stop());
    }

    const { failures, cut, requests } = await stop();
    expect([...failures, ...cut]).toEqual([]);
    expect(requests).toBeGreaterThan(100);
    await agent.stop();
    await stays.edge.stop();
  },
  60_000,
);
