import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { splice } from "../../src/proxy/splice.ts";

/** client — [near ⇄ far] — server, over real sockets. */
let client: Socket;
let near: Socket;
let far: Socket;
let server: Socket;
let listener: Server;

async function pair(): Promise<[Socket, Socket]> {
  const accepted = once(listener, "connection") as Promise<[Socket]>;
  const out = connect({
    port: (listener.address() as AddressInfo).port,
    host: "127.0.0.1",
    allowHalfOpen: true,
  });
  const [[inside]] = await Promise.all([accepted, once(out, "connect")]);
  return [out, inside];
}

beforeEach(async () => {
  listener = createServer({ allowHalfOpen: true });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  [client, near] = await pair();
  [far, server] = await pair();
  for (const socket of [client, near, far, server]) socket.on("error", () => {});
});
afterEach(() => {
  for (const socket of [client, near, far, server]) socket.destroy();
  listener.close();
});

/** Everything up to the socket's end; unlike an iterator it leaves the other direction open. */
function readAll(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk;
    });
    socket.on("end", () => resolve(text));
  });
}
/** Unlike `once` this does not reject for an error before the close. */
function closed(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.on("close", () => resolve()));
}

describe("spliced streams", () => {
  test("pass bytes both ways and close when both sides ended", async () => {
    splice(near, far);
    server.once("data", (chunk: Buffer) => server.end(`re: ${chunk}`));
    client.write("ping");
    expect(await readAll(client)).toBe("re: ping");
    client.end();
    await Promise.all([closed(near), closed(far)]);
  });

  test("pass a half-close on, and the other direction goes on", async () => {
    splice(near, far);
    client.end("question");
    expect(await readAll(server)).toBe("question");
    server.end("answer after FIN");
    expect(await readAll(client)).toBe("answer after FIN");
  });

  test("a reset on one side destroys the other", async () => {
    splice(near, far);
    client.resetAndDestroy();
    await Promise.all([closed(near), closed(far)]);
    expect(far.destroyed).toBe(true);
  });

  test("bytes that came before the splice are not lost", async () => {
    near.pause();
    near.unshift(Buffer.from("early "));
    splice(near, far);
    client.end("late");
    expect(await readAll(server)).toBe("early late");
  });

  test("a reader that stops holds the writer back", async () => {
    splice(near, far);
    server.pause();
    const block = Buffer.alloc(1024 * 1024);
    for (let i = 0; i < 64; i++) client.write(block);
    // Everything between the two ends is full now: what the edge holds has a bound.
    while (!near.isPaused()) await new Promise((resolve) => setImmediate(resolve));
    expect(far.writableLength).toBeLessThan(2 * 1024 * 1024);
    let received = 0;
    server.on("data", (chunk: Buffer) => {
      received += chunk.length;
    });
    client.end();
    server.resume();
    await once(server, "end");
    expect(received).toBe(client.bytesWritten);
  });
});
