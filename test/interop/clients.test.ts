/** Other people's clients against the whole edge, by HTTP/1.1 and HTTP/2, on every runtime. */
import { once } from "node:events";
import http2 from "node:http2";
import https from "node:https";
import { fileURLToPath } from "node:url";
import { type Browser, chromium } from "playwright-core";
import { Agent, request as undiciRequest } from "undici";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ClientOptions, WebSocket } from "ws";
import { edgeFor, quiet, RUNTIMES, surprises, type TestEdge } from "../e2e/edges.ts";
import { collectAnswer } from "../runtime/client.ts";
import { run } from "../support/processes.ts";
import { PARTS, type Site, startSite } from "./site.ts";

const HOST = "app.example.test";
const PYTHON = "/usr/bin/python3"; // Debian's own, which has Debian's python3-h2.

let site: Site;
beforeAll(async () => {
  site = await startSite();
});
afterAll(() => site?.close());

describe.each(RUNTIMES)("clients of an edge on %s", (runtime) => {
  let edge: TestEdge;
  beforeAll(async () => {
    // "localhost" is for tools that send the name they connect to.
    // nghttp's --continuation sends more than the 16 KiB of fields that are the default.
    const limits = { maxHeadBytes: 65_536 };
    edge = await edgeFor(runtime, { [HOST]: [site.url], localhost: [site.url] }, { limits });
  });
  afterAll(async () => {
    await edge?.stop();
  });

  const ok = async (command: string, args: readonly string[]): Promise<string> => {
    const done = await run(command, args, { boundMs: 25_000 });
    expect(done.code, done.output).toBe(0);
    return done.stdout;
  };
  const curl = (path: string, ...args: string[]): Promise<string> => {
    const { port } = edge.https;
    const to = ["-sSk", "--resolve", `${HOST}:${port}:127.0.0.1`, `https://${HOST}:${port}${path}`];
    return ok("curl", [...args, ...to]);
  };

  test.each(["--http1.1", "--http2"])(
    "curl %s: GET, HEAD, POST, a large answer, uploads, events",
    async (version) => {
      expect(await curl("/a?b", version)).toBe("GET /a?b");
      expect(await curl("/a", version, "-I")).toMatch(/^HTTP\/(1\.1|2) 200/);
      expect(await curl("/echo", version, "-d", "posted")).toBe("posted");
      expect((await curl("/large", version)).length).toBe(3_000_000);
      const file = fileURLToPath(new URL("clients.test.ts", import.meta.url));
      const size = await curl("/size", version, "-T", file, "-H", "Expect: 100-continue");
      expect(Number(size)).toBeGreaterThan(1000);
      // Chunked by HTTP/1.1, without a length by HTTP/2.
      expect(
        await curl("/size", version, "-T", file, "-H", "Content-Length:", "-H", "Transfer-Encoding: chunked"),
      ).toBe(size);
      expect(await curl("/events", version, "-N")).toBe("data: 1\n\ndata: 2\n\ndata: 3\n\n");
    },
  );

  test("wrk: no socket error and no answer but 200", async () => {
    const out = await ok("wrk", ["-t1", "-c16", "-d1s", `https://localhost:${edge.https.port}/w`]);
    expect(out).toMatch(/[1-9]\d* requests in/);
    expect(out).not.toMatch(/Socket errors|Non-2xx/);
  });

  test("h2load: every request succeeds", async () => {
    const out = await ok("h2load", ["-n2000", "-c4", "-m20", `https://localhost:${edge.https.port}/part/7`]);
    expect(out).toContain("2000 succeeded, 0 failed, 0 errored");
  });

  test("nghttp: gets, posts, with padding and CONTINUATION", async () => {
    // It takes only a name's first address, which of "localhost" is ::1, and sends no server name for an address.
    const args = ["-y", "--padding=64", "--continuation", "-H", `:authority: ${HOST}`];
    const url = `https://127.0.0.1:${edge.https.port}`;
    expect(await ok("nghttp", [...args, `${url}/n`])).toBe("GET /n");
    const file = fileURLToPath(new URL("site.ts", import.meta.url));
    expect(await ok("nghttp", [...args, "-d", file, `${url}/size`])).toMatch(/^\d{4}$/);
  });

  test("python3-h2: streams side by side, within its windows", async () => {
    const script = fileURLToPath(new URL("h2_client.py", import.meta.url));
    const got = JSON.parse(await ok(PYTHON, [script, String(edge.https.port), HOST])) as unknown[];
    expect(got).toHaveLength(10);
    expect(got[0]).toEqual(["/python", 200, "GET /python".length]);
    expect(got[1]).toEqual(["/echo", 200, 300_000]);
    expect(got.filter((answer) => String(answer) === "/large,200,3000000")).toHaveLength(1);
  });

  test("Node's https: kept-alive, posts, and a body without a length", async () => {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 2 });
    const ask = async (path: string, body?: Buffer): Promise<string> => {
      const to = { host: "127.0.0.1", port: edge.https.port, servername: HOST, ca: edge.ca, agent, path };
      const request = https.request({ ...to, method: body ? "POST" : "GET", headers: { host: HOST } });
      if (body) request.write(body.subarray(0, 10));
      request.end(body?.subarray(10));
      const [response] = await once(request, "response");
      return (await collectAnswer(response)).body;
    };
    const answers = await Promise.all(Array.from({ length: 20 }, (_each, n) => ask(`/${n}`)));
    expect(answers).toEqual(answers.map((_each, n) => `GET /${n}`));
    expect(await ask("/size", Buffer.alloc(1_000_000))).toBe("1000000");
    agent.destroy();
  });

  test.each([1, 10])("undici with %i requests in the pipe", async (pipelining) => {
    const dispatcher = new Agent({
      pipelining,
      connections: 1,
      connect: { servername: HOST, ca: edge.ca, ALPNProtocols: ["http/1.1"] },
    });
    const ask = async (path: string, body?: string): Promise<string> => {
      const url = `https://127.0.0.1:${edge.https.port}${path}`;
      const method = body === undefined ? "GET" : "POST";
      const answer = await undiciRequest(url, {
        dispatcher,
        method,
        headers: { host: HOST },
        body: body ?? null,
      });
      return answer.body.text();
    };
    const answers = await Promise.all(Array.from({ length: 50 }, (_each, n) => ask(`/${n}`)));
    expect(answers).toEqual(answers.map((_each, n) => `GET /${n}`));
    expect(await ask("/echo", "x".repeat(200_000))).toHaveLength(200_000);
    await dispatcher.close();
  });

  test("Node's http2: many streams, an echo, a cancelled one among them", async () => {
    const session = http2.connect(`https://127.0.0.1:${edge.https.port}`, { servername: HOST, ca: edge.ca });
    const ask = async (path: string, body?: Buffer): Promise<number> => {
      const stream = session.request({ ":path": path, ":authority": HOST, ":method": body ? "POST" : "GET" });
      stream.end(body);
      let size = 0;
      for await (const chunk of stream) size += (chunk as Buffer).length;
      return size;
    };
    const cancelled = session.request({ ":path": "/large", ":authority": HOST });
    await once(cancelled, "response");
    cancelled.close(http2.constants.NGHTTP2_CANCEL);
    const sizes = await Promise.all(
      Array.from({ length: 60 }, (_each, n) => ask(n % 3 ? `/${n}` : "/large")),
    );
    expect(sizes).toEqual(sizes.map((_size, n) => (n % 3 ? `GET /${n}`.length : 3_000_000)));
    expect(await ask("/echo", Buffer.alloc(500_000, 1))).toBe(500_000);
    session.close();
    await once(session, "close");
  });

  test("ws: texts, binary, a large message, and the closing handshake", async () => {
    const to = { servername: HOST, ca: edge.ca, headers: { host: HOST } };
    const socket = new WebSocket(`wss://127.0.0.1:${edge.https.port}/`, to as ClientOptions);
    await once(socket, "open");
    for (const message of ["hello", Buffer.from([0, 255]), Buffer.alloc(1_000_000, 7)]) {
      socket.send(message);
      const [data] = (await once(socket, "message")) as [Buffer];
      expect(data.equals(Buffer.from(message))).toBe(true);
    }
    socket.close(4000, "done");
    const [code, reason] = (await once(socket, "close")) as [number, Buffer];
    expect([code, String(reason)]).toEqual([4000, "done"]);
  });

  describe.each([
    ["h2", []],
    ["http/1.1", ["--disable-http2"]],
  ])("Chromium by %s", (protocol, flags) => {
    let browser: Browser;
    beforeAll(async () => {
      const args = [
        "--no-sandbox",
        "--ignore-certificate-errors",
        "--disable-quic",
        `--host-resolver-rules=MAP ${HOST} 127.0.0.1`,
      ];
      browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: [...args, ...flags] });
    });
    afterAll(() => browser?.close());

    test("loads a page of a hundred parts, uploads, hears events, talks by WebSocket", async () => {
      const page = await browser.newPage();
      await page.goto(`https://${HOST}:${edge.https.port}/page`, { waitUntil: "load" });
      const loaded = (await page.evaluate(`({
        parts: parts.length,
        inOrder: parts.every((part, at) => part === at),
        protocols: [...new Set(performance.getEntriesByType("resource").map((entry) => entry.nextHopProtocol))],
      })`)) as unknown;
      expect(loaded).toEqual({ parts: PARTS, inOrder: true, protocols: [protocol] });
      const upload = `fetch("/size", { method: "POST", body: new Uint8Array(2_000_000) }).then((r) => r.text())`;
      expect(await page.evaluate(upload)).toBe("2000000");
      const events = `new Promise((resolve) => {
        const got = [];
        const source = new EventSource("/events");
        source.onmessage = ({ data }) => { got.push(data); if (got.length === 3) { source.close(); resolve(got); } };
      })`;
      expect(await page.evaluate(events)).toEqual(["1", "2", "3"]);
      const socket = `new Promise((resolve, reject) => {
        const socket = new WebSocket("wss://" + location.host + "/socket");
        socket.onopen = () => socket.send("over");
        socket.onmessage = ({ data }) => { socket.close(); resolve(data); };
        socket.onerror = () => reject(new Error("no socket"));
      })`;
      expect(await page.evaluate(socket)).toBe("over");
      await page.close();
    });
  });

  test("nothing is left in flight, and nothing unforeseen happened", async () => {
    await quiet(edge);
    expect(surprises(edge)).toEqual([]);
  });
});
