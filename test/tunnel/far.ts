/** A wormhole whose edge is 100 ms away by a relay that delays: how fast a large body comes, and whether it is whole. */
import { createHash } from "node:crypto";
import https from "node:https";
import { target } from "../runtime/client.ts";
import type { Runtime } from "../support/edge.ts";
import { startRelay } from "../support/relay.ts";
import { HOST, joined, type World, world, wormhole } from "./processes.ts";

export interface FarReport {
  readonly bytes: number;
  readonly whole: boolean;
  readonly megabytesPerSecond: number;
  readonly roundTripMs: number;
}

export async function far(
  bytes: number,
  roundTripMs: number,
  [edgeRuntime, runtime]: readonly [Runtime, Runtime] = ["node", "node"],
): Promise<FarReport> {
  const at = await world(edgeRuntime);
  const relay = await startRelay({ port: at.edge.https.port, delayMs: roundTripMs / 2 });
  const agent = wormhole(runtime, at.token, "far", { args: ["--edge", `127.0.0.1:${relay.port}`] });
  await joined(agent);
  try {
    await download(at, 8_000_000); // A window grows as it is used.
    const from = performance.now();
    const { hash, length } = await download(at, bytes);
    const seconds = (performance.now() - from) / 1000;
    return {
      bytes: length,
      whole: length === bytes && hash === expected(bytes),
      megabytesPerSecond: bytes / 1e6 / seconds,
      roundTripMs,
    };
  } finally {
    await agent.stop();
    await relay.close();
    await at.edge.stop();
  }
}

/** What the app's `/bytes` sends. */
function expected(bytes: number): string {
  const block = Buffer.alloc(65_536, "skerry");
  const hash = createHash("sha256");
  for (let left = bytes; left > 0; left -= block.length)
    hash.update(block.subarray(0, Math.min(left, block.length)));
  return hash.digest("hex");
}

function download({ edge, ca }: World, bytes: number): Promise<{ hash: string; length: number }> {
  return new Promise((resolve, reject) => {
    const hash = createHash("sha256");
    let length = 0;
    const path = `/bytes?n=${bytes}`;
    const request = https.get({ ...target({ port: edge.https.port, host: HOST, ca, path }), agent: false });
    request.on("error", reject);
    request.on("response", (response) => {
      response.on("error", reject);
      response.on("data", (chunk: Buffer) => {
        length += chunk.length;
        hash.update(chunk);
      });
      response.on("end", () => resolve({ hash: hash.digest("hex"), length }));
    });
  });
}
