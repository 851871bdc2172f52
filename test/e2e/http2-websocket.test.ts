/** WebSocket over HTTP/2 (RFC 8441), and a browser's page over one connection, through the edge on every runtime. */
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:http2";
import type { AddressInfo } from "node:net";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocketServer } from "ws";
import { edgeFor, quiet, RUNTIMES, surprises, type TestEdge } from "./edges.ts";

const HOST = "app.example.test";
const SUBRESOURCES = 100;

const PAGE = `<!doctype html><title>page</title>
${Array.from({ length: SUBRESOURCES }, (_, i) => `<script src="/part-${i}.js"></script>`).join("\n")}`;

/** How requests came to it, and an ordinary WebSocket server beside. */
const origin = createServer((request, response) => {
  const path = request.url ?? "/";
  if (path.startsWith("/part-")) {
    response.setHeader("content-type", "text/javascript");
    response.end(
      `globalThis.parts = (globalThis.parts ?? 0) + 1; // ${"x".repeat((path.length * 997) % 30_000)}`,
    );
  } else if (path === "/upload") {
    let size = 0;
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
    });
    request.on("end", () => response.end(String(size)));
  } else if (path === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream" });
    let count = 0;
    const tick = setInterval(() => {
      response.write(`data: ${++count}\n\n`);
      if (count === 5) clearInterval(tick);
    }, 20);
    response.on("close", () => clearInterval(tick));
  } else response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
});
const sockets = new WebSocketServer({
  server: origin,
  handleProtocols: (offered) => [...offered][0] ?? false,
});
sockets.on("connection", (socket, request) => {
  socket.send(`hello ${request.headers["x-asked"] ?? "you"}`);
  socket.on("message", (data, binary) => socket.send(data, { binary }));
});

let browser: Browser;
beforeAll(async () => {
  await new Promise<void>((resolve) => origin.listen({ port: 0, host: "127.0.0.1" }, resolve));
  browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", `--host-resolver-rules=MAP ${HOST} 127.0.0.1`, "--disable-quic"],
  });
});
afterAll(async () => {
  await browser?.close();
  sockets.close();
  origin.closeAllConnections();
  origin.close();
});

/** A masked text frame, as a client sends it. */
function frame(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([Buffer.from([0x81, 0x80 | bytes.length, 0, 0, 0, 0]), bytes]);
}

describe.each(RUNTIMES)("a browser on %s", (runtime) => {
  let edge: TestEdge;
  beforeAll(async () => {
    edge = await edgeFor(runtime, { [HOST]: [`http://127.0.0.1:${(origin.address() as AddressInfo).port}`] });
  });
  afterAll(async () => {
    await edge?.stop();
  });

  test("Node's client opens a WebSocket by extended CONNECT", async () => {
    const session = connect(`https://127.0.0.1:${edge.https.port}`, { servername: HOST, ca: edge.ca });
    await once(session, "remoteSettings");
    expect(session.remoteSettings.enableConnectProtocol).toBe(true);
    const stream = session.request({
      ":method": "CONNECT",
      ":protocol": "websocket",
      ":scheme": "https",
      ":path": "/chat",
      ":authority": HOST,
      "sec-websocket-version": "13",
      "sec-websocket-protocol": "chat",
      "x-asked": "node",
    });
    const [headers] = await once(stream, "response");
    expect(headers).toMatchObject({ ":status": 200, "sec-websocket-protocol": "chat" });
    expect(headers["sec-websocket-accept"]).toBeUndefined();
    let got = Buffer.alloc(0);
    const until = async (size: number): Promise<void> => {
      while (got.length < size) {
        const [chunk] = await once(stream, "data");
        got = Buffer.concat([got, chunk as Buffer]);
      }
    };
    await until(12);
    expect(got.subarray(2).toString()).toBe("hello node");
    stream.write(frame("over HTTP/2"));
    await until(12 + 13);
    expect(got.subarray(14).toString()).toBe("over HTTP/2");
    stream.close();
    session.close();
  });

  test("Chromium loads a page with 100 parts, uploads, listens to events and speaks WebSocket", async () => {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    const origin_ = `https://${HOST}:${edge.https.port}`;
    await page.goto(`${origin_}/`, { waitUntil: "load" });
    // Run as text: these are the page's globals, not the test's.
    expect(await page.evaluate("globalThis.parts")).toBe(SUBRESOURCES);
    const protocols = await page.evaluate(
      `[...new Set([...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].map((e) => e.nextHopProtocol))]`,
    );
    expect(protocols).toEqual(["h2"]);
    expect(
      await page.evaluate(
        `fetch("/upload", { method: "POST", body: new Uint8Array(5_000_000) }).then((r) => r.text())`,
      ),
    ).toBe("5000000");
    expect(
      await page.evaluate(`new Promise((resolve, reject) => {
        const heard = [];
        const source = new EventSource("/events");
        source.onerror = reject;
        source.onmessage = ({ data }) => { heard.push(data); if (heard.length === 5) { source.close(); resolve(heard.join()); } };
      })`),
    ).toBe("1,2,3,4,5");
    expect(
      await page.evaluate(`new Promise((resolve, reject) => {
        const heard = [];
        const socket = new WebSocket("wss://" + location.host + "/chat");
        socket.onerror = () => reject(new Error("WebSocket failed"));
        socket.onopen = () => socket.send("x".repeat(100_000));
        socket.onmessage = ({ data }) => { heard.push(data.length); if (heard.length === 2) { socket.close(); resolve(heard.join()); } };
      })`),
    ).toBe("9,100000");
    await context.close();
  });

  test("nothing is left in flight, and nothing unforeseen happened", async () => {
    await quiet(edge);
    expect(surprises(edge)).toEqual([]);
  });
});
