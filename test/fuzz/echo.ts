/** Tells requests back to the server in front of it; prints its port. A process of its own, run by origins.ts. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

const server = createServer(
  { keepAliveTimeout: 0, requestTimeout: 0, headersTimeout: 0 },
  (request, response) => {
    const parts: Buffer[] = [Buffer.from(`${request.method} ${request.url}\n`, "latin1")];
    request.on("data", (chunk: Buffer) => parts.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(parts);
      response.writeHead(200, {
        "content-length": body.length,
        "x-witness": String(request.headers["x-request-id"] ?? ""),
      });
      response.end(body);
    });
  },
);
server.listen({ port: 0, host: "127.0.0.1" }, () => console.log((server.address() as AddressInfo).port));
process.stdin.on("end", () => process.exit(0)).resume();
