// Run on each runtime: meets a CA in trouble and prints what it makes of it, one JSON line per case.
// argv: Pebble's directory, a file with the CA of its HTTPS.
import { readFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Server } from "node:net";
import { systemClock } from "../../src/clock.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { createHttpChallenge } from "../../src/tls/challenge.ts";
import { createAcmeIssuer } from "../../src/tls/issuer.ts";
import { createLocalCa } from "../../src/tls/local-ca.ts";
import { problemOf } from "../../src/tls/problem.ts";
import { createTransport } from "../../src/tls/transport.ts";

const [directory = "", caPath = ""] = process.argv.slice(2);
const trustedCa = readFileSync(caPath, "utf8");

async function tell(
  name: string,
  at: string,
  ca: string | null = trustedCa,
  stopAfterMs?: number,
): Promise<void> {
  const config = { directory: at, trustedCa: ca ?? undefined, email: undefined, agreeToTerms: true };
  const parts = {
    config,
    storage: createMemoryStorage(),
    challenge: createHttpChallenge(),
    clock: systemClock,
  };
  const issuer = createAcmeIssuer({ ...parts, requestTimeoutMs: 300 });
  const stop = new AbortController();
  if (stopAfterMs !== undefined) systemClock.after(stopAfterMs, () => stop.abort(new Error("told to stop")));
  try {
    await issuer.issue("a.example.test", stop.signal);
    console.log(JSON.stringify({ name, code: "none" }));
  } catch (thrown) {
    const { code, retry, message } = thrown as { code?: string; retry?: string; message: string };
    const { type, retryAfterMs } = problemOf(thrown) ?? {};
    console.log(
      JSON.stringify({
        ...{ name, code, retry, type, retryAfterMs },
        ...(code === undefined && { message }),
        ...(message.includes("set acme.trustedCa") && { advice: "trustedCa" }),
      }),
    );
  }
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/dir`;
}
const http = (listener: RequestListener): Promise<string> => listen(createServer(listener));

const closed = createTcpServer();
const nobody = await listen(closed);
await new Promise((resolve) => closed.close(resolve));

await tell("nobody listens", nobody);
await tell("a CA that is not trusted", directory, (await createLocalCa(systemClock)).rootPem);
await tell("a CA that nobody vouches for", directory, null);
await tell("no TLS where it should be", nobody.replace("http:", "https:"));
const silent = await http(() => {});
await tell("no answer", silent);
await tell("told to stop while waiting", silent, null, 50);
await tell("a connection closed at once", await listen(createTcpServer((socket) => void socket.destroy())));
await tell(
  "a connection closed in mid-answer",
  await http((_, response) => {
    response.writeHead(200, { "content-length": "1000" });
    response.write("{", () => response.destroy());
  }),
);
await tell(
  "an answer that stops in the middle",
  await http((_, response) => {
    response.writeHead(200, { "content-length": "1000" });
    response.write("{");
  }),
);
await tell(
  "too many requests",
  await http((_, response) => {
    response.writeHead(429, { "retry-after": "7" });
    response.end('{"type":"urn:ietf:params:acme:error:rateLimited","detail":"slow down"}');
  }),
);
await tell(
  "a broken CA",
  await http((_, response) => void response.writeHead(503, { "retry-after": "5" }).end("<html>")),
);

/** Calls one after the other, to a server that hangs up after each answer, on the request, or not at all. */
async function calls(
  name: string,
  hangUp: "never" | "after an answer" | "on the second request",
): Promise<void> {
  let connections = 0;
  let requests = 0;
  const at = await listen(
    createTcpServer((socket) => {
      connections++;
      socket.on("error", () => {});
      socket.on("data", () => {
        if (++requests === 2 && hangUp === "on the second request") return void socket.destroy();
        const body = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        socket.write(body, () => {
          if (hangUp === "after an answer") socket.destroy();
        });
      });
    }),
  );
  const transport = createTransport({ clock: systemClock, trustedCa: undefined, timeoutMs: 2000 });
  const statuses: number[] = [];
  for (let n = 0; n < 3; n++) {
    const signal = new AbortController().signal;
    statuses.push((await transport({ url: at, method: "POST", data: {} }, signal)).status);
  }
  // How many connections a repeated call leaves behind is the runtime's affair.
  const seen = hangUp === "on the second request" ? { requests } : { connections };
  console.log(JSON.stringify({ name, statuses, ...seen }));
}
await calls("one connection for several calls", "never");
await calls("a connection closed after each answer", "after an answer");
await calls("a kept connection closed without an answer", "on the second request");

/** A CA that takes each nonce once, and dies once after it took a request: what it did, and what its client was told. */
async function dying(name: string, atRequest: number): Promise<void> {
  const taken: string[] = [];
  let requests = 0;
  const at = await http(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += String(chunk);
    const known = taken.includes(body);
    if (!known) taken.push(body);
    if (++requests === atRequest) return void request.socket.destroy();
    const problem = JSON.stringify({ type: "urn:ietf:params:acme:error:badNonce", detail: "again" });
    response.writeHead(known ? 400 : 200, { "content-type": "application/json" }).end(known ? problem : "{}");
  });
  const transport = createTransport({ clock: systemClock, trustedCa: undefined, timeoutMs: 2000 });
  const told: (number | string)[] = [];
  for (const nonce of ["a", "b", "c"]) {
    const signal = new AbortController().signal;
    const call = transport({ url: at, method: "POST", data: { nonce }, once: true }, signal);
    told.push(await call.then(({ status }) => status).catch((thrown: { code: string }) => thrown.code));
  }
  console.log(JSON.stringify({ name, told, taken }));
}
await dying("a CA that dies after it took what must not be done twice", 2);
process.exit(0);
