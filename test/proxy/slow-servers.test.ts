/** Servers that stand still, through the whole data plane: what the client sees, and that no slot stays taken. */
import { once } from "node:events";
import { type IncomingMessage, request, type ServerResponse } from "node:http";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type ManualClock, manualClock } from "../upstream/support.ts";
import { ask, deadPort, startBackend, startProxy, stopAll, until } from "./support.ts";

let clock: ManualClock;
beforeEach(() => {
  clock = manualClock();
});
afterEach(stopAll);

/** Asks and gives the answer at its head. */
async function head(url: string): Promise<IncomingMessage> {
  const outgoing = request(url, { agent: false });
  outgoing.end();
  const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
  return incoming;
}

test("an answer that stands still is cut off, never passed off as whole", async () => {
  const backend = await startBackend((_, response) => {
    response.writeHead(200, { "content-length": 100 });
    response.write("half");
  });
  const { url, pool } = await startProxy([backend.port], { clock, backend: { bodyTimeoutMs: 800 } });
  const answer = await head(url);
  await once(answer, "data");
  clock.advance(1000);
  await expect(once(answer, "end")).rejects.toMatchObject({ code: "ECONNRESET" });
  await until(() => pool.inFlight === 0);
});

test("an event stream that is silent goes on", async () => {
  let stream: ServerResponse | undefined;
  const backend = await startBackend((_, response) => {
    stream = response;
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write("data: 1\n\n");
  });
  const { url } = await startProxy([backend.port], { clock, backend: { bodyTimeoutMs: 800 } });
  const answer = await head(url);
  const [first] = await once(answer, "data");
  clock.advance(60_000);
  stream!.end("data: 2\n\n");
  const [second] = await once(answer, "data");
  expect(`${first}${second}`).toBe("data: 1\n\ndata: 2\n\n");
});

test("a server that takes no more of an upload gives 504", async () => {
  const backend = await startBackend((incoming) => incoming.pause());
  const { url, pool } = await startProxy([backend.port], { clock, backend: { bodyTimeoutMs: 800 } });
  const upload = request(url, { method: "POST", agent: false });
  upload.on("error", () => {}); // The rest of the body meets a closed connection.
  const pump = (): void => {
    while (!upload.destroyed && upload.write(Buffer.alloc(65_536)));
  };
  upload.on("drain", pump);
  pump();
  const answered = once(upload, "response");
  let status = 0;
  void answered.then(([response]) => {
    status = (response as IncomingMessage).statusCode ?? 0;
  });
  // Buffers between here and there fill first; then only time goes by.
  await until(() => {
    clock.advance(10);
    return status !== 0;
  });
  expect(status).toBe(504);
  upload.destroy();
  await until(() => pool.inFlight === 0);
});

test("a response counts from the request's last byte: a slow upload is no slow server", async () => {
  let got = 0;
  const backend = await startBackend((incoming, response) => {
    incoming.on("data", (chunk: Buffer) => {
      got += chunk.length;
    });
    incoming.on("end", () => response.end("thanks"));
  });
  const { url } = await startProxy([backend.port], { clock, backend: { responseTimeoutMs: 800 } });
  const upload = request(url, { method: "POST", agent: false });
  for (let i = 1; i <= 5; i++) {
    upload.write("more");
    await until(() => got === 4 * i);
    clock.advance(700);
  }
  upload.end();
  const [response] = await once(upload, "response");
  expect(response.statusCode).toBe(200);
});

test("the whole has one bound, over all attempts", async () => {
  const backend = await startBackend((_, response) => {
    response.writeHead(200);
    response.write("and so on");
  });
  const options = { clock, backend: { totalTimeoutMs: 800 } };
  const { url, pool } = await startProxy([await deadPort(), backend.port], options);
  for (let i = 0; i < 4; i++) {
    const answer = await head(url);
    await once(answer, "data");
    clock.advance(1000);
    await expect(once(answer, "end")).rejects.toMatchObject({ code: "ECONNRESET" });
  }
  await until(() => pool.inFlight === 0);
});

test("a server that gives no head in time gives 504", async () => {
  const backend = await startBackend(() => {});
  const { url } = await startProxy([backend.port], { clock, backend: { responseTimeoutMs: 800 } });
  const answer = ask(url);
  await until(() => backend.count === 1);
  clock.advance(1000);
  expect((await answer).status).toBe(504);
});
