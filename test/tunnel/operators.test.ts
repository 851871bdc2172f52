/** What operators see of wormholes. */
import { expect, test } from "vitest";
import { ask, joined, world, wormhole } from "./processes.ts";

test("the admin port shows each container with its labels, its release and what is in flight there", async () => {
  const at = await world("node");
  const env = { WORMHOLE_LABELS: "zone=a,rack=7", WORMHOLE_RELEASE: "abc123", WORMHOLE_BRANCH: "main" };
  const agent = wormhole("node", at.token, "statler", { env });
  await joined(agent);
  const { port } = at.edge.admin;
  const slow = Promise.all([ask(at, "/slow?ms=1500"), ask(at, "/slow?ms=1500")]);
  await ask(at);
  const { wormholes } = (await (await fetch(`http://127.0.0.1:${port}/wormholes`)).json()) as {
    wormholes: Record<string, unknown>[];
  };
  expect(wormholes).toEqual([
    {
      server: expect.stringMatching(/^wormhole:statler-/),
      backend: "web",
      instance: expect.stringMatching(/^[0-9a-f]{16}$/),
      since: expect.any(Number),
      token: at.tokenId,
      app: "statler",
      labels: { zone: "a", rack: "7" },
      release: { sha: "abc123", branch: "main" },
      version: expect.any(String),
      connections: 2,
      inFlight: 2,
      state: "available",
    },
  ]);
  const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  expect(metrics).toContain(
    `skerry_wormholes{backend="web",server="${wormholes[0]!.server}",name="statler",labels="zone=a,rack=7",release="abc123",state="available"} 1`,
  );
  await slow;
  await agent.stop();
  expect(await (await fetch(`http://127.0.0.1:${port}/wormholes`)).json()).toEqual({ wormholes: [] });
  await at.edge.stop();
}, 30_000);
