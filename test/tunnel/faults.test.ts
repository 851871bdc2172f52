/**
 * Of a few wormholes some die, freeze or are cut off under load: nobody notices, and they are picked no more in time.
 * `TUNNEL_PAIRS=all` for every runtime with every other; without it each is the edge once and the agent once.
 */
import http2 from "node:http2";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Aftermath, BLOWS, childOf, strikeAll } from "./faults.ts";
import { ask, HOST, joined, PAIRS, type World, world, wormhole } from "./processes.ts";

function hold({ blows, failures, cut, requests, slowestMs }: Aftermath): void {
  for (const { what, outMs, goneMs } of blows)
    console.log(
      `${what}: out of rotation after ${outMs} ms, given up after ${goneMs} ms, ${requests} requests, slowest ${Math.round(slowestMs)} ms`,
    );
  expect(failures).toEqual([]);
  // Each blow may hit one in the middle.
  expect(cut.length, cut.join("\n")).toBeLessThanOrEqual(blows.length);
  expect(requests).toBeGreaterThan(20);
  for (const { what, outMs, goneMs, mostOutMs, mostGoneMs } of blows) {
    expect(outMs, what).toBeLessThan(mostOutMs);
    expect(goneMs, what).toBeLessThan(mostGoneMs);
  }
}

describe.each(PAIRS)("under load, an edge on %s and agents on %s", (edgeRuntime, runtime) => {
  let at: World;
  beforeAll(async () => {
    at = await world(edgeRuntime);
    await joined(wormhole(runtime, at.token, "stays"));
  });
  afterAll(async () => {
    await at.edge.stop();
  });

  // One at a time where the times are to be told, all together elsewhere.
  if (edgeRuntime === "node" && runtime === "node")
    test.each(BLOWS)(
      "$what costs no request",
      async (blow) => hold(await strikeAll(at, runtime, [blow], `victim-${BLOWS.indexOf(blow)}`)),
      60_000,
    );
  else
    test("kill -9, SIGSTOP, resets and silence cost no request", async () => {
      hold(await strikeAll(at, runtime, BLOWS, "victim"));
    }, 60_000);
});

describe.each(PAIRS)("a body that a killed agent leaves unfinished (%s, %s)", (edgeRuntime, runtime) => {
  let lone: World;
  beforeAll(async () => {
    lone = await world(edgeRuntime);
  });
  afterAll(async () => {
    await lone.edge.stop();
  });
  test.each([
    ["of a known length, over HTTP/1.1", "/trickle", "1"],
    ["in chunks, over HTTP/1.1", "/forever", "1"],
    ["of a known length, over HTTP/2", "/trickle", "2"],
    ["in chunks, over HTTP/2", "/forever", "2"],
  ] as const)("is an error to its reader: %s", async (_what, path, version) => {
    const agent = wormhole(runtime, lone.token, "dies");
    await joined(agent);
    const command = childOf(agent);
    const kill = (): void => agent.signal("SIGKILL");
    await expect(version === "1" ? read1(lone, path, kill) : read2(lone, path, kill)).rejects.toThrow();
    process.kill(command, "SIGKILL");
  });
});

/** Reads to the end, or fails; `begun` runs with the first chunk. */
function read1(lone: World, path: string, begun: () => void): Promise<string> {
  return ask(lone, path, { begun }).then(({ body }) => body);
}

function read2({ edge, ca }: World, path: string, begun: () => void): Promise<string> {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`https://127.0.0.1:${edge.https.port}`, { ca, servername: HOST });
    const stream = session.request({ ":path": path, ":authority": HOST });
    let body = "";
    stream.once("data", begun);
    stream.setEncoding("latin1");
    stream.on("data", (chunk: string) => {
      body += chunk;
    });
    session.on("error", reject);
    stream.on("error", reject);
    stream.on("end", () => resolve(body));
    stream.on("close", () => session.destroy());
  });
}
