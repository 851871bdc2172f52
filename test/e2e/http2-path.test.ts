/** Large bodies over a long line: HTTP/2's windows must grow to it, in both directions, on every runtime. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../support/processes.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { edgeFor, quiet, RUNTIMES, type TestEdge } from "./edges.ts";

/** h2load says it as SNI, and every machine knows it. */
const HOST = "localhost";
const BODY_BYTES = 24 * 2 ** 20;
/** 5 MB on the way: twenty times a stream's first window. */
const FAST_LINE = 64 * 2 ** 20;
const LARGE_BYTES = 100 * 2 ** 20;
/** Bytes per second: slow enough for a busy machine, and 1.3 MB on the way, five times the first window. */
const LINE = 16 * 2 ** 20;
const LEAST_RATIO = 0.7;
/** A machine that is busy elsewhere for a moment must not decide. */
const ATTEMPTS = 3;

const folder = mkdtempSync(join(tmpdir(), "skerry-path-"));
const file = join(folder, "body");
const large = join(folder, "large");
const piece = Buffer.alloc(65_536);

/** GET is answered with so many bytes; other bodies are read to their end. */
const origin = createServer((request, response) => {
  if (request.method === "GET") {
    let left = BODY_BYTES;
    response.setHeader("content-length", left);
    const more = (): void => {
      while (left > 0) {
        left -= piece.length;
        if (!response.write(piece)) return;
      }
      response.end();
    };
    response.on("drain", more);
    more();
    return;
  }
  let size = 0;
  request.on("data", (chunk: Buffer) => {
    size += chunk.length;
  });
  request.on("end", () => response.writeHead(size === BODY_BYTES || size === LARGE_BYTES ? 200 : 400).end());
});

beforeAll(async () => {
  writeFileSync(file, "");
  truncateSync(file, BODY_BYTES);
  writeFileSync(large, "");
  truncateSync(large, LARGE_BYTES);
  await new Promise<void>((resolve) => origin.listen({ port: 0, host: "127.0.0.1" }, resolve));
});
afterAll(() => {
  origin.closeAllConnections();
  origin.close();
  rmSync(folder, { recursive: true, force: true });
});

describe.each(RUNTIMES)("a round trip of 80 ms to %s", (runtime) => {
  let edge: TestEdge;
  let relay: Relay;
  beforeAll(async () => {
    edge = await edgeFor(runtime, { [HOST]: [`http://127.0.0.1:${(origin.address() as AddressInfo).port}`] });
    relay = await startRelay({ port: edge.https.port, delayMs: 40, bytesPerSecond: LINE });
  });
  afterAll(async () => {
    await relay?.close();
    await edge?.stop();
  });

  /** MiB per second of one transfer by h2load, whose own windows are 16 and 64 MiB. */
  async function rate(by: Relay, bytes: number, ...args: readonly string[]): Promise<number> {
    const url = `https://${HOST}:${by.port}/`;
    const { stdout, output } = await run("h2load", ["-n1", "-c1", "-m1", "-w24", "-W26", ...args, url], {
      boundMs: 60_000,
    });
    expect(output).toContain("1 succeeded, 0 failed");
    const [, value, unit] = /finished in ([\d.]+)(ms|s),/.exec(stdout) ?? [];
    return bytes / 2 ** 20 / (Number(value) / (unit === "ms" ? 1000 : 1));
  }

  test.each([
    ["download", []],
    ["upload", ["-d", file]],
  ])(
    "leaves a %s at least 0.7 of what HTTP/1.1 has",
    async (name, args) => {
      const ratios: number[] = [];
      for (let attempt = 0; attempt < ATTEMPTS && !(Math.max(...ratios) >= LEAST_RATIO); attempt++) {
        const h1 = await rate(relay, BODY_BYTES, "--h1", ...args);
        const h2 = await rate(relay, BODY_BYTES, ...args);
        ratios.push(h2 / h1);
        if (process.env.SKERRY_SHOW)
          process.stderr.write(`${runtime} ${name}: ${h1.toFixed(1)} ${h2.toFixed(1)} MiB/s\n`);
      }
      expect(Math.max(...ratios)).toBeGreaterThanOrEqual(LEAST_RATIO);
    },
    180_000,
  );

  test("leaves an upload over a line of 64 MiB per second at least 0.7 of what HTTP/1.1 has", async () => {
    const fast = await startRelay({ port: edge.https.port, delayMs: 40, bytesPerSecond: FAST_LINE });
    const ratios: number[] = [];
    for (let attempt = 0; attempt < ATTEMPTS && !(Math.max(...ratios) >= LEAST_RATIO); attempt++) {
      const h1 = await rate(fast, LARGE_BYTES, "--h1", "-d", large);
      const h2 = await rate(fast, LARGE_BYTES, "-d", large);
      ratios.push(h2 / h1);
      if (process.env.SKERRY_SHOW)
        process.stderr.write(`${runtime} fast upload: ${h1.toFixed(1)} ${h2.toFixed(1)} MiB/s\n`);
    }
    await fast.close();
    expect(Math.max(...ratios)).toBeGreaterThanOrEqual(LEAST_RATIO);
  }, 180_000);

  test("nothing is left in flight", async () => {
    await quiet(edge);
  });
});
