/** A wormhole whose edge is far away by a relay that delays: how fast a large body goes, and whether it is whole. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import https from "node:https";
import { target } from "../runtime/client.ts";
import type { Runtime } from "../support/edge.ts";
import type { Child } from "../support/processes.ts";
import { startRelay } from "../support/relay.ts";
import { HOST, joined, type World, world, wormhole } from "./processes.ts";

export interface FarReport {
  /** Down, then up. */
  readonly bytes: readonly [number, number];
  readonly whole: readonly [boolean, boolean];
  readonly megabytesPerSecond: readonly [number, number];
  readonly seconds: readonly [number, number];
  /** The most that edge and agent ever had in memory, in megabytes. */
  readonly peaks: readonly [number, number];
}

/** Without a round trip there is no relay either. */
export async function far(
  bytes: number,
  roundTripMs: number,
  [edgeRuntime, runtime]: readonly [Runtime, Runtime] = ["node", "node"],
): Promise<FarReport> {
  const at = await world(edgeRuntime);
  const relay =
    roundTripMs > 0 ? await startRelay({ port: at.edge.https.port, delayMs: roundTripMs / 2 }) : undefined;
  const args = relay ? ["--edge", `127.0.0.1:${relay.port}`] : [];
  const agent = wormhole(runtime, at.token, "far", { args });
  await joined(agent);
  const timed = async (work: Promise<{ hash: string; length: number }>) => {
    const from = performance.now();
    const done = await work;
    return { ...done, seconds: (performance.now() - from) / 1000 };
  };
  try {
    await download(at, 8_000_000); // A window grows as it is used.
    const down = await timed(download(at, bytes));
    const up = await timed(upload(at, bytes));
    const hash = expected(bytes);
    const each = <T>(of: (one: typeof down) => T): [T, T] => [of(down), of(up)];
    return {
      bytes: each(({ length }) => length),
      whole: each((one) => one.length === bytes && one.hash === hash),
      seconds: each(({ seconds }) => seconds),
      megabytesPerSecond: each(({ seconds }) => bytes / 1e6 / seconds),
      peaks: [peak(at.edge.process), peak(agent)],
    };
  } finally {
    await agent.stop();
    await relay?.close();
    await at.edge.stop();
  }
}

function peak(child: Child): number {
  const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
  return (Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1]) * 1024) / 1e6;
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

/** The same bytes the other way; the app answers with their hash. */
function upload({ edge, ca }: World, bytes: number): Promise<{ hash: string; length: number }> {
  return new Promise((resolve, reject) => {
    const block = Buffer.alloc(65_536, "skerry");
    let left = bytes;
    const request = https.request({
      ...target({ port: edge.https.port, host: HOST, ca, path: "/hash", method: "POST" }),
      agent: false,
    });
    const pump = (): void => {
      while (left > 0) {
        const size = Math.min(left, block.length);
        left -= size;
        if (!request.write(block.subarray(0, size))) return;
      }
      request.end();
    };
    request.on("error", reject);
    request.on("drain", pump);
    request.on("response", (response) => {
      let hash = "";
      response.setEncoding("latin1").on("data", (text: string) => {
        hash += text;
      });
      response.on("error", reject);
      response.on("end", () => resolve({ hash, length: bytes - left }));
    });
    pump();
  });
}
