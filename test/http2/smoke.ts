/** Run by each runtime as a program of its own: both engines against each other, over TCP, in one process. */

import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:net";
import { systemClock } from "../../src/clock.ts";
import { bytesSource, collect } from "../../src/exchange/body.ts";
import type { UpstreamRequest } from "../../src/exchange/dispatch.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import { DEFAULT_LIMITS } from "../../src/exchange/limits.ts";
import { createHttp2Client } from "../../src/http2/client.ts";
import { serveHttp2 } from "../../src/http2/server.ts";

const offences: string[] = [];
const server = createServer((socket) => {
  serveHttp2(socket, {
    connection: { id: 1, remoteAddress: "", remotePort: 0, localPort: 0 },
    scheme: "http",
    limits: DEFAULT_LIMITS,
    clock: systemClock,
    connect: true,
    onExchange(x) {
      if (x.head.method === "CONNECT") {
        const tunnel = x.accept([]);
        tunnel.on("data", (chunk) => {
          if (!tunnel.write(chunk)) tunnel.pause();
        });
        tunnel.on("drain", () => void tunnel.resume());
        tunnel.on("end", () => tunnel.end());
      } else x.respond(responseHead(200, ["X-Path", x.head.path]), x.body ?? Buffer.from("hello"));
    },
    onOffence: (reason) => offences.push(reason),
    onClose() {},
  });
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const socket = connect({ port: (server.address() as AddressInfo).port, host: "127.0.0.1" });
const client = createHttp2Client(socket, { scheme: "http", clock: systemClock, onClose() {} });

function ask(path: string, body?: Uint8Array): Promise<Uint8Array> {
  const request: UpstreamRequest = {
    method: body ? "POST" : "GET",
    path,
    scheme: "http",
    authority: "smoke.test",
    headers: ["accept", "*/*"],
    body: body && bytesSource(body),
    protocol: undefined,
  };
  return new Promise((resolve, reject) =>
    client.dispatch(request, {
      inform() {},
      respond: (_, source) => resolve(source ? collect(source) : new Uint8Array(0)),
      upgraded() {},
      failed: reject,
    }),
  );
}

function check(fact: boolean, name: string): void {
  if (!fact) throw new Error(`not so: ${name}`);
}

for (let round = 0; round < 20; round++) {
  const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => ask(`/${i}`)));
  check(
    answers.every((each) => Buffer.from(each).toString() === "hello"),
    "small answers",
  );
}
const large = Buffer.alloc(5_000_000, 5);
const echoes = await Promise.all([ask("/a", large), ask("/b", large), ask("/c", large)]);
check(
  echoes.every((each) => large.equals(each)),
  "large echoes",
);

const tunnel = client.connect();
let got = 0;
let sent = 0;
const done = new Promise<void>((resolve, reject) => {
  tunnel.on("end", resolve);
  tunnel.on("error", reject);
});
tunnel.on("data", (chunk) => {
  got += chunk.length;
});
const fill = (): void => {
  while (sent < 8_000_000) {
    sent += 40_000;
    if (!tunnel.write(Buffer.alloc(40_000))) return;
  }
  tunnel.end();
};
tunnel.on("drain", fill);
fill();
await done;
check(got === 8_000_000, "tunnel");
check(offences.length === 0, `no offences: ${offences}`);
await client.close();
await new Promise((resolve) => server.close(resolve));
console.log("both engines work");
