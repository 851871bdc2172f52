/** What passes through: servers that die, big bodies, sockets, events, middleware that throws. */
import { once } from "node:events";
import https from "node:https";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { configFile, type EdgeProcess, type Runtime, startEdge } from "../support/edge.ts";
import { BIG_FILE_BYTES, type NginxBackend, startNginx } from "../support/nginx.ts";
import { eventually } from "../support/processes.ts";
import { collectAnswer, connect2, startLoad, target, visit, visit2 } from "./client.ts";
import { type Origin, startOrigin } from "./origin.ts";
import { ownCertificate } from "./own-certificate.ts";
import { measured, sip, slowDownload, slowDownload2, standstill, upload, upload2 } from "./streams.ts";

const HOST = "app.example.test";
const PAIR = "pair.example.test";
const STREAM = "stream.example.test";
const THROWS = "throws.example.test";

/** What a slow reader or a slow server may cost. */
const MEMORY_BOUND = 64 * 1024 * 1024;

export function trafficTests(runtime: Runtime): void {
  /**
   * Deno's resident memory is mostly what V8 has not collected yet: it marks step by step beside the traffic, and where it gets
   * too little CPU for that, all of a transfer that has long gone on is still there. So what it holds is told by its senders.
   */
  const tellsByMemory = runtime !== "deno";

  describe(`${runtime}: traffic`, () => {
    let backends: [NginxBackend, NginxBackend];
    let origin: Origin;
    let edge: EdgeProcess;
    let ca: string;

    beforeAll(async () => {
      backends = [await startNginx("statler"), await startNginx("waldorf")];
      origin = await startOrigin("origin");
      const own = await ownCertificate([HOST, PAIR, STREAM, THROWS]);
      ca = own.root;
      const tls = JSON.stringify(own.tls);
      const path = configFile(
        `import { defineEdge } from "skerry";
import type { MiddlewareHandler } from "hono";

const moody: MiddlewareHandler = async function moody(c, next) {
  if (c.req.path === "/bad") throw new Error("the mood is bad");
  await next();
  c.header("x-mood", "good");
  c.header("vary", "x-a");
  c.header("vary", "x-b", { append: true });
  c.header("server", undefined);
};
const tls = ${tls};

export default defineEdge({
  listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
  storage: "file:./certs",
  location: "here",
  backends: {
    big: { servers: [${JSON.stringify(backends[0].url)}] },
    pair: { servers: ${JSON.stringify(backends.map(({ url }) => url))} },
    origin: { servers: [${JSON.stringify(origin.url)}] },
  },
  hosts: {
    "${HOST}": { backend: "big", tls },
    "${PAIR}": { backend: "pair", tls },
    "${STREAM}": { backend: "origin", tls },
    "${THROWS}": { backend: "big", use: [moody], tls },
  },
});
`,
        "skerry.config.ts",
      );
      edge = await startEdge(runtime, path);
    });
    afterAll(async () => {
      await edge?.stop();
      await origin?.close();
      await Promise.all((backends ?? []).map((backend) => backend.stop()));
    });

    const at = (host: string, path = "/") => ({ port: edge.https.port, host, ca, path });

    test("a server that is killed under load costs no request, and serves again when it is back", async () => {
      const load = startLoad(at(PAIR), 8);
      await eventually("200 answers", () => load.tally.done >= 200);
      backends[1].process.signal("SIGKILL");
      await backends[1].process.ended;
      const then = load.tally.done;
      await eventually("500 more answers", () => load.tally.done >= then + 500);
      await backends[1].restart();
      const answered = load.tally.servers.get("waldorf") ?? 0;
      await eventually(
        "answers of the server that came back",
        () => (load.tally.servers.get("waldorf") ?? 0) > answered + 5,
        60_000,
      );
      expect((await load.stop()).failures).toEqual([]);
    }, 90_000);

    const memoryTests = (): void => {
      test("200 MB to a slow HTTP/1.1 reader cost less than 64 MB of memory", async () => {
        // Once at full speed, so that what a runtime's heap takes to begin with is not counted.
        await visit(at(HOST, "/big"));
        const { result, grown } = await measured(edge, () => slowDownload(at(HOST, "/big")));
        expect(result).toBe(BIG_FILE_BYTES);
        expect(grown).toBeLessThan(MEMORY_BOUND);
      }, 60_000);

      test("200 MB to a slow HTTP/2 reader cost less than 64 MB of memory", async () => {
        const session = await connect2(at(HOST));
        await visit2(session, at(HOST, "/big"));
        const { result, grown } = await measured(edge, () => slowDownload2(session, at(HOST, "/big")));
        session.close();
        expect(result).toBe(BIG_FILE_BYTES);
        expect(grown).toBeLessThan(MEMORY_BOUND);
      }, 60_000);

      test("200 MB up to a slow server cost less than 64 MB of memory, over HTTP/1.1 and HTTP/2", async () => {
        await upload(at(STREAM, "/sink"), BIG_FILE_BYTES);
        const one = await measured(edge, () => upload(at(STREAM, "/slow-upload"), BIG_FILE_BYTES));
        expect(one.result).toBe(String(BIG_FILE_BYTES));
        expect(one.grown).toBeLessThan(MEMORY_BOUND);
        const session = await connect2(at(STREAM));
        await upload2(session, at(STREAM, "/sink"), BIG_FILE_BYTES);
        const two = await measured(edge, () => upload2(session, at(STREAM, "/slow-upload"), BIG_FILE_BYTES));
        session.close();
        expect(two.result).toBe(String(BIG_FILE_BYTES));
        expect(two.grown).toBeLessThan(MEMORY_BOUND);
      }, 90_000);
    };
    if (tellsByMemory) memoryTests();

    test("of 200 MB that nobody takes less than 64 MB leave their sender, down and up, over HTTP/1.1 and HTTP/2", async () => {
      const down = at(STREAM, `/plenty?bytes=${BIG_FILE_BYTES}`);
      const session = await connect2(at(STREAM));
      const request = https.request({ ...target(down), agent: false }).end();
      const [response] = (await once(request, "response")) as [import("node:http").IncomingMessage];
      expect(await standstill(origin.given)).toBeLessThan(MEMORY_BOUND);
      expect(await sip(response)).toBe(BIG_FILE_BYTES);
      const stream = session.request({ ":path": down.path, ":authority": STREAM });
      await once(stream, "response");
      expect(await standstill(origin.given)).toBeLessThan(MEMORY_BOUND);
      expect(await sip(stream)).toBe(BIG_FILE_BYTES);

      const up = at(STREAM, "/stalled-upload");
      for (const send of [upload, (...rest: Parameters<typeof upload>) => upload2(session, ...rest)]) {
        let left = 0;
        const sent = send(up, BIG_FILE_BYTES, (bytes) => {
          left += bytes;
        });
        expect(await standstill(() => left)).toBeLessThan(MEMORY_BOUND);
        const read = await eventually("the upload is there", () => origin.stalled.get(up.path));
        read();
        expect(await sent).toBe(String(BIG_FILE_BYTES));
      }
      session.close();
    }, 90_000);

    test("nginx takes an upload and sees all of it", async () => {
      const body = new Uint8Array(300_000).fill(120);
      const answer = await visit({ ...at(HOST, "/upload/file"), method: "PUT", body });
      expect([201, 204]).toContain(answer.status);
      expect((await visit(at(HOST, "/upload/file"))).body).toBe("x".repeat(300_000));
    });

    test("10,000 WebSocket messages come back in order", async () => {
      // A variable, as the types of ws leave `servername` out.
      const options = { ca, servername: STREAM, headers: { host: STREAM }, perMessageDeflate: false };
      const socket = new WebSocket(`wss://127.0.0.1:${edge.https.port}/socket`, options);
      await once(socket, "open");
      const count = 10_000;
      let next = 0;
      const all = new Promise<void>((resolve, reject) => {
        socket.on("message", (data) => {
          if (String(data) !== `message ${next}`) reject(new Error(`${String(data)} came as number ${next}`));
          if (++next === count) resolve();
        });
        socket.once("close", () => reject(new Error(`closed after ${next}`)));
      });
      for (let i = 0; i < count; i++) socket.send(`message ${i}`);
      await all;
      socket.close();
      await once(socket, "close");
      expect(next).toBe(count);
    });

    test("server-sent events arrive one by one", async () => {
      const request = https.request({ ...target(at(STREAM, "/sse")), agent: false }).end();
      const [response] = (await once(request, "response")) as [import("node:http").IncomingMessage];
      const stream = await eventually("the server holds the stream", () => origin.open.get("/sse"));
      for (let i = 0; i < 20; i++) {
        // The next event is sent only when this one is here: nothing on the way may gather them.
        stream.write(`data: ${i}\n\n`);
        const [chunk] = (await once(response, "data")) as [Buffer];
        expect(String(chunk)).toBe(`data: ${i}\n\n`);
      }
      stream.end();
      await once(response, "end");
    });

    test("HEAD, 204 and 304 have no body, and the connection goes on", async () => {
      const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
      const head = await visit({ ...at(HOST), method: "HEAD", agent });
      expect([head.status, head.body]).toEqual([200, ""]);
      expect(head.headers["content-length"]).toBe("25");
      for (const status of [204, 304]) {
        const answer = await visit({ ...at(HOST, `/status/${status}`), agent });
        expect([answer.status, answer.body]).toEqual([status, ""]);
      }
      expect((await visit({ ...at(HOST), agent })).body).toBe("You have reached statler\n");
      agent.destroy();
      const session = await connect2(at(HOST));
      expect((await visit2(session, { ...at(HOST), method: "HEAD" })).body).toBe("");
      for (const status of [204, 304])
        expect((await visit2(session, at(HOST, `/status/${status}`))).status).toBe(status);
      session.close();
    });

    test("early hints (103) pass before the answer", async () => {
      const request = https.request({ ...target(at(STREAM, "/hints")), agent: false }).end();
      const hints: number[] = [];
      request.on("information", (info) => hints.push(info.statusCode));
      const [response] = (await once(request, "response")) as [import("node:http").IncomingMessage];
      expect((await collectAnswer(response)).body).toBe("after the hints\n");
      expect(hints).toEqual([103]);
      const session = await connect2(at(STREAM));
      expect((await visit2(session, at(STREAM, "/hints"))).hints).toEqual([103]);
      session.close();
    });

    test("trailers pass", async () => {
      const request = https.request({
        ...target({ ...at(STREAM, "/trailers"), headers: { te: "trailers" } }),
        agent: false,
      });
      const [response] = (await once(request.end(), "response")) as [import("node:http").IncomingMessage];
      expect((await collectAnswer(response)).body).toBe("body\n");
      expect(response.trailers).toEqual({ "x-checksum": "abc" });
      const session = await connect2(at(STREAM));
      const answer = await visit2(session, { ...at(STREAM, "/trailers"), headers: { te: "trailers" } });
      session.close();
      expect(answer.trailers["x-checksum"]).toBe("abc");
    });

    test("an HTTP/1.1 client that goes away cancels the request to the server", async () => {
      const request = https.request({ ...target(at(STREAM, "/hold-one")), agent: false }).end();
      request.on("error", () => {}); // Its own doing.
      await eventually("the request is there", () => origin.open.get("/hold-one"));
      request.destroy();
      await eventually("the server sees it leave", () => origin.abandoned.has("/hold-one"), 5000);
    });

    test("an HTTP/2 client that resets its stream cancels the request to the server", async () => {
      const session = await connect2(at(STREAM));
      const stream = session.request({ ":path": "/hold-two", ":authority": STREAM });
      stream.on("error", () => {});
      await eventually("the request is there", () => origin.open.get("/hold-two"));
      stream.close(8);
      await eventually("the server sees it leave", () => origin.abandoned.has("/hold-two"), 5000);
      expect((await visit2(session, at(STREAM))).status).toBe(200);
      session.close();
    });

    test("a body is passed on as it was sent, over both protocols", async () => {
      const body = "some words ".repeat(10_000);
      const answer = await visit({ ...at(STREAM, "/echo"), method: "POST", body });
      expect(answer.body === body).toBe(true);
      const session = await connect2(at(STREAM));
      const over2 = await visit2(session, { ...at(STREAM, "/echo"), method: "POST", body });
      session.close();
      expect(over2.body === body).toBe(true);
    });

    test("a middleware that throws costs its own request a 500, and the log names it", async () => {
      const { headers } = await visit(at(THROWS));
      expect([headers["x-mood"], headers.vary, headers.server]).toEqual(["good", "x-a, x-b", undefined]);
      expect((await visit(at(THROWS, "/bad"))).status).toBe(500);
      const after = await visit(at(THROWS));
      expect([after.status, after.headers["x-mood"]]).toEqual([200, "good"]);
      const line = await eventually("the log tells of it", () =>
        edge.process
          .output()
          .split("\n")
          .find((text) => text.includes("the mood is bad")),
      );
      expect(line).toContain("moody");
    });
  });
}
