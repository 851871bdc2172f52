/** Large answers that share memory on their way through the edge arrive unmixed, on every runtime. */
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { type ClientHttp2Session, connect } from "node:http2";
import { Agent, get } from "node:https";
import type { AddressInfo } from "node:net";
import { pipeline, Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { edgeFor, quiet, RUNTIMES, surprises, type TestEdge } from "./edges.ts";

const HOST = "app.example.test";
const WHOLE = randomBytes(3_000_017);
const RIGHT = hashOf([WHOLE]);
/** How the origin cuts chunked answers. */
const PIECES = [1, 9_000, 16_384, 16_385, 70_000, 147_375, 200_000];
const WAYS = ["known", "chunked", "until-close"];
const ROUNDS = 4;

function hashOf(chunks: readonly Uint8Array[]): string {
  const hash = createHash("sha256");
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest("hex");
}

function* pieces(): Generator<Buffer> {
  for (let at = 0, i = 0; at < WHOLE.length; i++) {
    const piece = WHOLE.subarray(at, at + PIECES[i % PIECES.length]!);
    at += piece.length;
    yield piece;
  }
}

const origin = createServer((request, response) => {
  const way = request.url?.slice(1);
  if (way === "known") response.setHeader("content-length", WHOLE.length);
  if (way === "until-close") {
    response.shouldKeepAlive = false;
    response.useChunkedEncodingByDefault = false;
  }
  if (way === "known") response.end(WHOLE);
  else pipeline(Readable.from(pieces()), response, () => {});
});

beforeAll(async () => {
  origin.listen(0, "127.0.0.1");
  await once(origin, "listening");
});
afterAll(() => {
  origin.closeAllConnections();
  origin.close();
});

/** The hash of all that comes; `slow` rests after every chunk. */
async function read(stream: Readable, slow: boolean): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    if (slow) await new Promise((resolve) => setImmediate(resolve));
  }
  return hashOf(chunks);
}

describe.each(RUNTIMES)("large answers through %s", (runtime) => {
  let edge: TestEdge;
  beforeAll(async () => {
    const { port } = origin.address() as AddressInfo;
    edge = await edgeFor(runtime, { [HOST]: [`http://127.0.0.1:${port}`] });
  });
  afterAll(async () => {
    await edge?.stop();
  });

  const over1 = async (path: string, slow: boolean, agent: Agent): Promise<string> => {
    const request = get({
      host: "127.0.0.1",
      port: edge.https.port,
      servername: HOST,
      ca: edge.ca,
      path,
      agent,
      headers: { host: HOST },
    });
    const [response] = (await once(request, "response")) as [IncomingMessage];
    return read(response, slow);
  };

  const over2 = async (session: ClientHttp2Session, path: string, slow: boolean): Promise<string> => {
    const stream = session.request({ ":path": path, ":authority": HOST });
    return read(stream, slow);
  };

  test("have the right bytes over HTTP/1.1, whether their readers are fast or slow", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 6 });
    const reads = WAYS.flatMap((way) =>
      Array.from({ length: ROUNDS }, (_, i) => over1(`/${way}`, i % 2 === 1, agent)),
    );
    expect(new Set(await Promise.all(reads))).toEqual(new Set([RIGHT]));
    agent.destroy();
  });

  test.each([65_535, 8_388_608])(
    "have the right bytes over HTTP/2 in windows of %i bytes, though some of their neighbours are cut",
    async (initialWindowSize) => {
      const session = connect(`https://127.0.0.1:${edge.https.port}`, {
        servername: HOST,
        ca: edge.ca,
        settings: { initialWindowSize },
      });
      await once(session, "remoteSettings");
      session.setLocalWindowSize(Math.max(initialWindowSize * 2, 1_048_576));
      const reads = WAYS.flatMap((way) =>
        Array.from({ length: ROUNDS }, (_, i) => {
          const cut = session.request({ ":path": `/${way}`, ":authority": HOST });
          cut.on("error", () => {});
          cut.once("data", () => cut.close(8));
          return over2(session, `/${way}`, i % 2 === 1);
        }),
      );
      expect(new Set(await Promise.all(reads))).toEqual(new Set([RIGHT]));
      session.close();
      await quiet(edge);
      expect(surprises(edge)).toEqual([]);
    },
  );
});
