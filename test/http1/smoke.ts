/**
 * Server and client of ours over loopback TCP, on whatever runtime this is run. Prints one JSON line; exits 1 on a failure.
 * Run by runtimes.test.ts as a child process.
 */
import { deepEqual, equal, match } from "node:assert/strict";
import { connect, createServer, type Socket } from "node:net";
import { systemClock } from "../../src/clock.ts";
import type { EdgeError } from "../../src/errors.ts";
import { bytesSource, collect } from "../../src/exchange/body.ts";
import type { UpstreamRequest } from "../../src/exchange/dispatch.ts";
import { type Exchange, type ResponseHead, responseHead } from "../../src/exchange/exchange.ts";
import { DEFAULT_LIMITS } from "../../src/exchange/limits.ts";
import type { ByteStream } from "../../src/exchange/stream.ts";
import { serveHttp1 } from "../../src/http1/server.ts";
import { createHttp1Transport } from "../../src/http1/transport.ts";
import { runtimeName } from "../../src/runtime.ts";
import { REFUSED } from "./fixtures.ts";

const BIG = Buffer.alloc(3_000_000, "skerry ");

function onExchange(exchange: Exchange): void {
  const { head, body } = exchange;
  if (head.protocol !== undefined) {
    const stream = exchange.accept([]);
    stream.on("data", (chunk) => stream.write(chunk));
    stream.resume();
  } else if (head.path === "/big") exchange.respond(responseHead(200), BIG);
  else if (head.path === "/cut") {
    exchange.respond(responseHead(200, ["Content-Length", "10"]), {
      length: 10,
      started: false,
      start: (sink) => {
        sink.write(Buffer.from("abc"));
        setTimeout(() => exchange.reset({ code: "INTERNAL" } as EdgeError), 10);
      },
      resume() {},
      cancel() {},
    });
  } else if (head.path === "/hints") {
    exchange.inform(103, ["Link", "</a>"]);
    exchange.respond(responseHead(204));
  } else if (body !== undefined) exchange.respond(responseHead(200), body);
  else exchange.respond(responseHead(200), Buffer.from(`${head.method} ${head.path}`));
}

let id = 0;
const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
  serveHttp1(socket as ByteStream, {
    connection: { id: id++, remoteAddress: "127.0.0.1", remotePort: 0, localPort: 0 },
    scheme: "http",
    limits: DEFAULT_LIMITS,
    clock: systemClock,
    onExchange,
    onOffence() {},
    onClose() {},
  });
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const address = server.address();
const port = typeof address === "object" && address ? address.port : 0;

const transport = createHttp1Transport({
  clock: systemClock,
  connect(done) {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    socket.once("connect", () => done(undefined, socket as ByteStream));
    return () => socket.destroy();
  },
});

interface Answer {
  head: ResponseHead;
  text: string;
  informs: number[];
  stream: ByteStream | undefined;
}

function ask(facts: Partial<UpstreamRequest>): Promise<Answer> {
  const informs: number[] = [];
  const request: UpstreamRequest = {
    method: "GET",
    path: "/",
    scheme: "http",
    authority: "a.test",
    headers: [],
    body: undefined,
    protocol: undefined,
    ...facts,
  };
  return new Promise((resolve, reject) => {
    transport.dispatch(request, {
      inform: (status) => void informs.push(status),
      respond(head, body) {
        if (body === undefined) resolve({ head, text: "", informs, stream: undefined });
        else
          collect(body).then(
            (bytes) =>
              resolve({ head, text: Buffer.from(bytes).toString("latin1"), informs, stream: undefined }),
            reject,
          );
      },
      upgraded: (head, stream) => resolve({ head, text: "", informs, stream }),
      failed: reject,
    });
  });
}

/** Sends bytes and FIN, and gives everything up to the server's FIN. */
function raw(text: string): Promise<string> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    let got = "";
    socket.on("data", (chunk: Buffer) => {
      got += chunk.toString("latin1");
    });
    socket.on("error", () => {});
    socket.on("end", () => {
      socket.destroy();
      resolve(got);
    });
    socket.on("connect", () => {
      socket.write(Buffer.from(text, "latin1"));
      socket.end();
    });
  });
}

const facts: string[] = [];
for (let i = 0; i < 3; i++) equal((await ask({ path: "/a" })).text, "GET /a");
equal(transport.connections, 1);
facts.push("keep-alive");
equal((await ask({ path: "/big" })).text.length, BIG.length);
facts.push("large answer");
equal((await ask({ method: "POST", body: bytesSource(BIG) })).text.length, BIG.length);
facts.push("large echo");
const streamed = bytesSource(BIG.subarray(0, 300_000));
equal(
  (
    await ask({
      method: "POST",
      body: { ...streamed, length: undefined, start: (sink) => streamed.start(sink) },
    })
  ).text.length,
  300_000,
);
facts.push("chunked echo");
deepEqual((await ask({ path: "/hints" })).informs, [103]);
facts.push("1xx");
equal((await ask({ method: "HEAD" })).text, "");
const cut = await ask({ path: "/cut" }).catch((error) => (error as EdgeError).code);
equal(cut, "UPSTREAM_RESET");
facts.push("cut answer");
const { stream } = await ask({ protocol: "websocket" });
await new Promise<void>((resolve) => {
  stream!.on("data", (chunk) => {
    equal(chunk.toString(), "ping");
    resolve();
  });
  stream!.resume();
  stream!.write("ping", "latin1");
});
stream!.destroy();
facts.push("upgrade");
match(await raw("GET /x HTTP/1.1\r\nHost: a\r\n\r\n"), /^HTTP\/1\.1 200 OK\r\n/);
for (const [name, [status, text]] of Object.entries(REFUSED))
  match(await raw(text), new RegExp(`^HTTP/1.1 ${status} `), name);
facts.push("refusals after a half-close");
transport.destroy();
server.close();
console.log(JSON.stringify({ runtime: runtimeName, facts }));
process.exit(0);
