/** HTTP/2 as a stranger speaks it: raw frames over TLS to the whole edge with a server behind it, on every runtime. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import tls from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PROTOCOL_ERROR, STREAM_CLOSED } from "../../src/http2/errors.ts";
import {
  DATA,
  encodeFrame,
  GOAWAY,
  HEADERS,
  PING,
  PREFACE,
  SETTINGS,
  WINDOW_UPDATE,
} from "../../src/http2/frames.ts";
import { casesFor, END, OPEN, type Outcome, WHOLE } from "../http2/cases.ts";
import { expectOutcome } from "../http2/outcome.ts";
import { fields, RawClient, uint32 } from "../http2/support.ts";
import { ownCertificate } from "../runtime/own-certificate.ts";
import { configFile, startEdge } from "../support/edge.ts";
import { metric, quiet, RUNTIMES, surprises, type TestEdge } from "./edges.ts";

/** Answered by a server behind the edge. */
const HOST = "app.example.test";
/** Answered by the edge's own Hono app, at once, while frames of the same request still come. */
const HERE = "here.example.test";
/** Neither: 421 with a body. */
const ELSEWHERE = "elsewhere.example.test";

async function conformanceEdge(runtime: (typeof RUNTIMES)[number], server: string): Promise<TestEdge> {
  const own = await ownCertificate([HOST, HERE]);
  const edge = await startEdge(
    runtime,
    configFile(
      `import { defineEdge } from "skerry";
import { Hono } from "hono";

const tls = ${JSON.stringify(own.tls)};
const here = new Hono().all("*", (c) => c.text("hello, frames"));

export default defineEdge({
  listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
  storage: "file:./certs",
  accessLog: false,
  backends: { app: { servers: ["${server}"] } },
  hosts: { "${HOST}": { backend: "app", tls }, "${HERE}": { app: here, tls } },
});
`,
      "skerry.config.ts",
    ),
  );
  return Object.assign(edge, { ca: own.root });
}

/** Reads every request to its end, then answers. */
const origin = createServer((request, response) => {
  request.resume();
  request.on("end", () => response.end("hello, frames"));
});

beforeAll(async () => {
  await new Promise<void>((resolve) => origin.listen({ port: 0, host: "127.0.0.1" }, resolve));
});
afterAll(() => {
  origin.closeAllConnections();
  origin.close();
});

describe.each(RUNTIMES)("HTTP/2 on %s", (runtime) => {
  let edge: TestEdge;
  beforeAll(async () => {
    edge = await conformanceEdge(runtime, `http://127.0.0.1:${(origin.address() as AddressInfo).port}`);
  });
  afterAll(async () => {
    await edge?.stop();
  });

  async function open(serverName = HOST): Promise<RawClient> {
    const socket = tls.connect({
      port: edge.https.port,
      host: "127.0.0.1",
      servername: serverName,
      ALPNProtocols: ["h2"],
      ca: edge.ca,
    });
    await once(socket, "secureConnect");
    expect(socket.alpnProtocol).toBe("h2");
    return new RawClient(socket);
  }

  const ask = (changes: Record<string, string | undefined> = {}): string[] =>
    fields({ ":scheme": "https", ":authority": HOST, ...changes });

  describe.each([
    ["a server's answer, frames in one write", HOST, false],
    ["an answer of Hono's, frames apart", HERE, true],
  ])("%s", (_how, host, apart) => {
    for (const [section, fact, act, outcome] of casesFor("https", host)) {
      const kind =
        typeof outcome === "string" ? outcome : "connection" in outcome ? "connection error" : "stream error";
      test(`§${section} ${fact}: ${kind}`, async () => {
        const client = await open(host);
        try {
          client.apart = apart;
          await client.handshake();
          await act(client);
          await expectOutcome(client, outcome);
        } finally {
          client.socket.destroy();
        }
      });
    }
  });

  // A stream that the engine answers by itself has the same states as any other.
  const misdirected = [
    [
      "DATA after its end",
      (c) => c.send(encodeFrame(DATA, END, 1, Buffer.from("late"))),
      { connection: STREAM_CLOSED },
    ],
    ["HEADERS after its end", (c) => c.headers(1, WHOLE), { connection: STREAM_CLOSED }],
    ["PRIORITY after its end", (c) => c.send(encodeFrame(2, 0, 1, Buffer.from([0, 0, 0, 0, 9]))), "survives"],
  ] as const satisfies readonly (readonly [string, (c: RawClient) => void, Outcome])[];
  for (const [fact, act, outcome] of misdirected) {
    test(`§5.1 an answer of 421, then ${fact}`, async () => {
      const client = await open();
      await client.handshake([[4, 1]]);
      client.headers(1, WHOLE, ask({ ":authority": ELSEWHERE }));
      const data = await client.next(({ type, streamId }) => type === DATA && streamId === 1);
      expect(data?.payload.length).toBe(1);
      client.send(encodeFrame(WINDOW_UPDATE, 0, 1, uint32(1000)));
      await client.next(({ type, flags }) => type === DATA && (flags & END) !== 0);
      act(client);
      await expectOutcome(client, outcome);
      client.socket.destroy();
    });
  }

  test("§6.9 an increment of 0 on a stream whose answer of 421 waits", async () => {
    const client = await open();
    await client.handshake();
    client.headers(1, OPEN, ask({ ":authority": ELSEWHERE }));
    client.send(encodeFrame(WINDOW_UPDATE, 0, 1, uint32(0)));
    await expectOutcome(client, { stream: PROTOCOL_ERROR });
    client.socket.destroy();
  });

  test("§5.4.1 the last words reach a client that sends on: GOAWAY, then a clean end", async () => {
    for (let round = 0; round < 20; round++) {
      const client = await open();
      await client.handshake();
      client.send(encodeFrame(PING, 0, 3, Buffer.alloc(8)));
      for (let i = 0; i < 50; i++)
        client.send(encodeFrame(PING, 0, 0, Buffer.alloc(8)), Buffer.alloc(16_384));
      expect(await client.goaway()).toBe(PROTOCOL_ERROR);
      expect(client.error).toBeUndefined();
      client.socket.destroy();
    }
  });

  test("§3.4 the server's first frame is SETTINGS; a wrong preface is a connection error", async () => {
    const client = await open();
    client.send(Buffer.from("INVALID CONNECTION PREFACE\r\n\r\n"));
    expect(await client.next()).toMatchObject({ type: SETTINGS, flags: 0, streamId: 0 });
    expect(await client.goaway()).toBe(PROTOCOL_ERROR);
  });

  test("§3.4 a first frame other than SETTINGS is a connection error", async () => {
    const client = await open();
    client.send(PREFACE, encodeFrame(PING, 0, 0, Buffer.alloc(8)));
    expect(await client.goaway()).toBe(PROTOCOL_ERROR);
  });

  test("§5.4.1 a connection error names the last stream that was taken", async () => {
    const client = await open();
    await client.handshake();
    client.headers(1, WHOLE, ask());
    client.headers(5, WHOLE, ask());
    client.send(encodeFrame(PING, 0, 3, Buffer.alloc(8)));
    const goaway = await client.next((frame) => frame.type === GOAWAY);
    expect(goaway?.payload.readUInt32BE(0)).toBe(5);
    await client.ended();
  });

  test("§6.8 a client that goes away is still answered what it asked for", async () => {
    const client = await open();
    await client.handshake();
    client.headers(1, WHOLE, ask());
    client.send(encodeFrame(GOAWAY, 0, 0, Buffer.alloc(8)));
    const data = await client.next((frame) => frame.type === DATA && frame.streamId === 1);
    expect(data?.payload.toString()).toBe("hello, frames");
    await client.ended();
  });

  test("§6.9 an answer of many windows arrives as they open", async () => {
    const client = await open();
    await client.handshake([[4, 5]]);
    client.headers(1, WHOLE, ask());
    let text = "";
    for (;;) {
      const frame = await client.next(({ type }) => type === DATA);
      if (frame === undefined) break;
      text += frame.payload.toString();
      if ((frame.flags & END) !== 0) break;
      client.send(encodeFrame(WINDOW_UPDATE, 0, 1, uint32(frame.payload.length)));
    }
    expect(text).toBe("hello, frames");
    client.socket.destroy();
  });

  test("an authority that the certificate does not cover gets 421, others live on (RFC 9110 §15.5.20)", async () => {
    const client = await open();
    await client.handshake();
    const status = async (id: number, authority: string): Promise<string | undefined> => {
      client.headers(id, WHOLE, ask({ ":authority": authority }));
      const frame = await client.next(({ type, streamId }) => type === HEADERS && streamId === id);
      return frame && client.decode(frame)[":status"];
    };
    expect(await status(1, "unknown.example.test")).toBe("421");
    expect(await status(3, "127.0.0.1")).toBe("421");
    expect(await status(5, HOST)).toBe("200");
    expect(await status(7, HOST.toUpperCase())).toBe("200");
    expect(await status(9, `${HOST}:443`)).toBe("200");
    client.socket.destroy();
  });

  test("a body that never ends after a reset costs the server nothing", async () => {
    const client = await open();
    await client.handshake();
    client.headers(1, OPEN, ask({ ":method": "POST" }));
    client.send(encodeFrame(DATA, 0, 1, Buffer.from("begun")));
    client.send(encodeFrame(3, 0, 1, uint32(8)));
    expect(await client.alive()).toBe(true);
    client.socket.destroy();
  });

  test("is left with nothing in flight, offenders counted, and nothing unforeseen", async () => {
    await quiet(edge);
    expect(await metric(edge, "skerry_limits_exceeded_total")).toBeGreaterThan(50);
    expect(surprises(edge)).toEqual([]);
  });
});
