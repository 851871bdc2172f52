/** A server of the kind that a proxy finds hard: it streams, hints, sends trailers, upgrades, and watches its clients leave. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";
import { plenty } from "./streams.ts";

export interface Origin {
  readonly url: string;
  /** Requests that reached it and are not answered yet, by path. */
  readonly open: ReadonlyMap<string, ServerResponse>;
  /** Paths whose client went away before the answer was complete. */
  readonly abandoned: ReadonlySet<string>;
  /** Uploads that nothing was read of yet: begins to read. */
  readonly stalled: ReadonlyMap<string, () => void>;
  /** Bytes of the last `/plenty`. */
  given(): number;
  close(): Promise<void>;
}

/**
 * - `/hold…` answers when `open.get(path)` is ended by the test
 * - `/sse` sends the head at once and then what the test writes to `open.get("/sse")`
 * - `/hints` sends 103, then 200
 * - `/trailers` ends with the trailer `x-checksum: abc`
 * - `/slow-upload` reads the body with a rest after every megabyte, answers with the number of bytes
 * - `/stalled-upload` reads nothing of the body until the test calls `stalled.get(path)`, then as `/slow-upload`
 * - `/plenty?bytes=…` answers with so many as fast as they are taken; `given` tells how many were
 * - `/sink` reads the body as fast as it comes
 * - `/echo` answers with the request's body
 * - upgrades to WebSocket are echoed
 */
export async function startOrigin(name: string): Promise<Origin> {
  const open = new Map<string, ServerResponse>();
  const abandoned = new Set<string>();
  const stalled = new Map<string, () => void>();
  let given = 0;
  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const path = request.url ?? "/";
    response.setHeader("x-backend", name);
    response.once("close", () => {
      open.delete(path);
      stalled.delete(path);
      if (!response.writableFinished) abandoned.add(path);
    });
    if (path.startsWith("/hold")) open.set(path, response);
    else if (path === "/sse") {
      response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
      open.set(path, response);
    } else if (path === "/hints") {
      response.writeEarlyHints({ link: "</style.css>; rel=preload; as=style" });
      response.end("after the hints\n");
    } else if (path === "/trailers") {
      response.writeHead(200, { trailer: "x-checksum" });
      response.write("body\n");
      response.addTrailers({ "x-checksum": "abc" });
      response.end();
    } else if (path === "/slow-upload") slowly(request, response);
    else if (path === "/stalled-upload") stalled.set(path, () => slowly(request, response));
    else if (path.startsWith("/plenty?bytes=")) {
      given = 0;
      const size = Number(path.slice("/plenty?bytes=".length));
      response.setHeader("content-length", size);
      plenty(size, (bytes) => {
        given += bytes;
      }).pipe(response);
    } else if (path === "/sink") request.resume().once("end", () => response.end());
    else if (path === "/echo") request.pipe(response);
    else response.end(`You have reached ${name}\n`);
  };
  const slowly = (request: IncomingMessage, response: ServerResponse): void => {
    let size = 0;
    let sinceRest = 0;
    request.on("data", (chunk: Buffer) => {
      size += chunk.length;
      sinceRest += chunk.length;
      if (sinceRest < 1 << 20) return;
      sinceRest = 0;
      request.pause();
      setTimeout(() => request.resume(), 5);
    });
    request.on("end", () => response.end(String(size)));
  };
  const server = createServer({ keepAliveTimeout: 60_000 }, answer);
  const sockets = new WebSocketServer({ server, perMessageDeflate: false });
  sockets.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  await new Promise<void>((resolve) => server.listen({ port: 0, host: "127.0.0.1" }, resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    open,
    abandoned,
    stalled,
    given: () => given,
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
