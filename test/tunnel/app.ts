// The app in the container, for tests: answers with its name, slowly, at length, for ever, or as an echo.
// env: PORT, SERVER_NAME. Leaves politely on SIGTERM.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const { SERVER_NAME = "nobody", PORT = "0" } = process.env;
const BLOCK = Buffer.alloc(65_536, "skerry");

const server = createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://app");
  response.setHeader("x-name", SERVER_NAME);
  switch (url.pathname) {
    case "/bytes": {
      let left = Number(url.searchParams.get("n"));
      response.setHeader("content-length", left);
      const pump = (): void => {
        while (left > 0) {
          const size = Math.min(left, BLOCK.length);
          left -= size;
          if (!response.write(BLOCK.subarray(0, size))) return;
        }
        response.end();
      };
      response.on("drain", pump);
      pump();
      return;
    }
    case "/hash": {
      const hash = createHash("sha256");
      request.on("data", (chunk: Buffer) => hash.update(chunk));
      request.on("end", () => response.end(hash.digest("hex")));
      return;
    }
    case "/slow":
      if (url.searchParams.has("tell")) console.log("a slow one is here");
      setTimeout(() => response.end(SERVER_NAME), Number(url.searchParams.get("ms") ?? 500));
      return;
    case "/trickle":
    case "/forever": {
      if (url.pathname === "/trickle") response.setHeader("content-length", 1e9);
      response.write("tick\n");
      const beat = setInterval(() => response.write("tick\n"), 50);
      response.on("close", () => clearInterval(beat));
      return;
    }
    case "/sick":
      response.statusCode = 500;
      response.end();
      return;
    default:
      response.end(SERVER_NAME);
  }
});

new WebSocketServer({ server }).on("connection", (socket) => {
  socket.on("message", (data, binary) => socket.send(data, { binary }));
  // As servers do that are told to stop: with a proper close.
  process.on("SIGTERM", () => socket.close(1001));
});

server.keepAliveTimeout = 65_000;
server.listen(Number(PORT), "127.0.0.1", () => {
  const address = server.address();
  console.log(`app ${SERVER_NAME} ${typeof address === "object" ? address?.port : ""}`);
});
process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
