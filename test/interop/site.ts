/** A site with a page of a hundred parts, an echo, events and a WebSocket, behind which every client is tried. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { WebSocketServer } from "ws";

export const PARTS = 100;

export interface Site {
  readonly url: string;
  close(): Promise<void>;
}

/**
 * - `/page` loads `/part/0` to `/part/99`, each a script of its own size that adds to `window.parts`
 * - `/echo` answers with the request's body, `/size` with its length in bytes
 * - `/events` sends three events, then ends
 * - `/large` is 3 MB
 * - everything else says its method and target; upgrades to WebSocket are echoed
 */
export async function startSite(): Promise<Site> {
  const server = createServer({ keepAliveTimeout: 60_000, maxHeaderSize: 65_536 }, (request, response) => {
    const path = request.url ?? "/";
    if (path === "/page") {
      const tags = Array.from({ length: PARTS }, (_part, n) => `<script src="/part/${n}"></script>`).join("");
      response.writeHead(200, { "content-type": "text/html" });
      response.end(`<!doctype html><title>parts</title><script>parts = []</script>${tags}`);
    } else if (path.startsWith("/part/")) {
      const n = Number(path.slice(6));
      response.writeHead(200, { "content-type": "text/javascript" });
      response.end(`parts.push(${n});//${"x".repeat(n * 300)}`);
    } else if (path === "/echo") request.pipe(response);
    else if (path === "/size") {
      let size = 0;
      request.on("data", (chunk: Buffer) => {
        size += chunk.length;
      });
      request.on("end", () => response.end(String(size)));
    } else if (path === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      for (const n of [1, 2, 3]) response.write(`data: ${n}\n\n`);
      setTimeout(() => response.end(), 50);
    } else if (path === "/large") response.end(Buffer.alloc(3_000_000, "skerry "));
    else response.end(`${request.method} ${path}`);
  });
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  });
  await new Promise<void>((resolve) => server.listen({ port: 0, host: "127.0.0.1" }, resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
