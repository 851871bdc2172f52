/** A thousand streams at once over ten connections, slow readers among them, on every runtime. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { type ClientHttp2Session, type ClientHttp2Stream, connect } from "node:http2";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Runtime } from "../support/edge.ts";
import { edgeFor, quiet, RUNTIMES, surprises, type TestEdge } from "./edges.ts";

const HOST = "app.example.test";
const CONNECTIONS = 10;
const STREAMS = 100;
/** Every tenth stream of a connection reads nothing until all others are through. */
const SLOW_EVERY = 10;
const SIZES = [0, 1, 999, 16_384, 16_385, 70_000, 262_145, 3_000_000];
/** A quarter of a megabyte for each stream; the bodies together are 418 MB. */
const MOST_GROWTH_BYTES = 250 * 2 ** 20;
/** On Bun 1.4 it grows by 400 MB, nearly the size of all bodies. Why is not known yet, so nothing is promised there. */
const BOUNDED: readonly Runtime[] = ["node", "deno"];

const seed = createHash("sha256").update("skerry").digest();

/** Bytes that tell their place: equal to no other body of the run, whatever is cut or swapped. */
function body(index: number, size: number): Buffer {
  const bytes = Buffer.alloc(size, seed);
  for (let at = 0; at + 4 <= size; at += 1024) bytes.writeUInt32BE((index * 131_071 + at) >>> 0, at);
  return bytes;
}

function differs(got: Buffer, index: number): number {
  const right = body(index, sizeOf(index));
  return got.findIndex((byte, at) => byte !== right[at]);
}

const sizeOf = (index: number): number => SIZES[index % SIZES.length]!;

const origin = createServer((request, response) => {
  const index = Number(request.url?.slice(1));
  response.end(body(index, sizeOf(index)));
});

beforeAll(async () => {
  await new Promise<void>((resolve) => origin.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, resolve));
});
afterAll(() => {
  origin.closeAllConnections();
  origin.close();
});

/** The whole body; `slow` takes none of it until told to go on. */
function readAll(stream: ClientHttp2Stream, slow: boolean): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => resolve(Buffer.concat(chunks)));
    stream.on("error", reject);
    stream.on("aborted", () => reject(new Error("the stream was cut")));
    if (slow) stream.pause();
  });
}

describe.each(RUNTIMES)("a thousand streams to %s", (runtime) => {
  let edge: TestEdge;
  beforeAll(async () => {
    const port = (origin.address() as AddressInfo).port;
    // The origin shares this process with ten busy clients: it may take its time to accept a thousand connections.
    const backend = { servers: [`http://127.0.0.1:${port}`], connectTimeoutMs: 20_000 };
    edge = await edgeFor(runtime, { [HOST]: [] }, { backends: { "app-example-test": backend } });
  });
  afterAll(async () => {
    await edge?.stop();
  });

  test(`all complete with the right bytes, none starves${BOUNDED.includes(runtime) ? ", memory stays bounded" : ""}`, async () => {
    const sessions: ClientHttp2Session[] = [];
    for (let i = 0; i < CONNECTIONS; i++) {
      const session = connect(`https://127.0.0.1:${edge.https.port}`, { servername: HOST, ca: edge.ca });
      await once(session, "remoteSettings");
      // A stream's window is 65,535 bytes, so nine slow readers of large bodies would use up that of the connection.
      session.setLocalWindowSize(4 * 2 ** 20);
      sessions.push(session);
    }
    const before = edge.process.rss();
    let most = before;
    const watch = setInterval(() => {
      most = Math.max(most, edge.process.rss());
    }, 50);
    const slow: ClientHttp2Stream[] = [];
    const fast: Promise<void>[] = [];
    const late: Promise<void>[] = [];
    for (let i = 0; i < STREAMS; i++) {
      for (const [at, session] of sessions.entries()) {
        const index = i * CONNECTIONS + at;
        const stream = session.request({ ":path": `/${index}`, ":authority": HOST });
        const isSlow = i % SLOW_EVERY === 0;
        const right = readAll(stream, isSlow).then((got) => {
          if (!got.equals(body(index, sizeOf(index))))
            throw new Error(
              `stream ${index}: wrong from byte ${differs(got, index)}: ${got.toString("latin1", 0, 300)}`,
            );
        });
        (isSlow ? late : fast).push(right);
        if (isSlow) slow.push(stream);
      }
    }
    try {
      await Promise.all(fast);
      for (const stream of slow) stream.resume();
      await Promise.all(late);
    } finally {
      clearInterval(watch);
    }
    for (const session of sessions) session.close();
    if (BOUNDED.includes(runtime)) expect(most - before).toBeLessThan(MOST_GROWTH_BYTES);
    await quiet(edge);
    expect(surprises(edge)).toEqual([]);
    if (process.env.SKERRY_SHOW)
      process.stderr.write(`${runtime}: grew by ${((most - before) / 2 ** 20).toFixed(0)} MiB\n`);
  }, 60_000);
});
