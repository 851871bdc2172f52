import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:http2";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { bytesSource } from "../../src/exchange/body.ts";
import { type Exchange, responseHead } from "../../src/exchange/exchange.ts";
import { limits, type Served, serve } from "./support.ts";

const BIN = fileURLToPath(new URL("../../node_modules/.bin/", import.meta.url));

let served: Served;
beforeAll(async () => {
  served = await serve(
    (x: Exchange) => {
      if (x.head.path === "/large") x.respond(responseHead(200), Buffer.alloc(3_000_000, 120));
      else if (x.body !== undefined) x.respond(responseHead(200), x.body);
      else
        x.respond(
          responseHead(200, ["x-path", x.head.path]),
          bytesSource(Buffer.from("hello"), ["x-sum", "5"]),
        );
    },
    { clock: systemClock, limits: limits({ maxRequestsPerConnection: 1e9, maxHeadBytes: 65_536 }) },
  );
});
afterAll(() => served.close());

const url = (path = "/"): string => `http://127.0.0.1:${served.port}${path}`;

function run(command: string, args: string[]): Promise<string> {
  return new Promise((resolve, reject) =>
    execFile(command, args, { maxBuffer: 1e8, timeout: 25_000 }, (error, stdout, stderr) =>
      error ? reject(new Error(`${error.message}\n${stdout}\n${stderr}`)) : resolve(stdout),
    ),
  );
}

describe("other implementations", () => {
  test("node:http2 as client reads answers and trailers, and sends bodies", async () => {
    const session = connect(url());
    const get = session.request({ ":path": "/a" });
    const [headers] = await once(get, "response");
    expect(headers).toMatchObject({ ":status": 200, "x-path": "/a" });
    let trailers: unknown;
    get.on("trailers", (list) => {
      trailers = list;
    });
    get.resume();
    await once(get, "end");
    expect(trailers).toMatchObject({ "x-sum": "5" });
    const post = session.request({ ":method": "POST", ":path": "/" });
    const body = Buffer.alloc(2_000_000, 3);
    post.end(body);
    const chunks: Buffer[] = [];
    for await (const chunk of post) chunks.push(chunk);
    expect(Buffer.concat(chunks).equals(body)).toBe(true);
    session.close();
    await once(session, "close");
  });

  test("curl gets, posts and asks for heads", async () => {
    expect(await run("curl", ["-sS", "--http2-prior-knowledge", url("/b")])).toBe("hello");
    expect(await run("curl", ["-sS", "--http2-prior-knowledge", "-d", "posted", url()])).toBe("posted");
    expect(await run("curl", ["-sSI", "--http2-prior-knowledge", url()])).toContain("HTTP/2 200");
    expect((await run("curl", ["-sS", "--http2-prior-knowledge", url("/large")])).length).toBe(3_000_000);
  });

  test("nghttp sends padding, continuation and priorities", async () => {
    const out = await run("nghttp", [
      "-v",
      "--padding=64",
      "--continuation",
      "--no-dep",
      "-H",
      "cookie: a=1",
      url("/c"),
    ]);
    expect(out).toContain("hello");
    expect(out).toContain("x-sum: 5");
    expect(out).not.toContain("RST_STREAM");
  });

  test("h2load: 20 000 requests, none fails", async () => {
    const out = await run("h2load", ["-n", "20000", "-c", "8", "-m", "50", url()]);
    expect(out).toContain("20000 succeeded, 0 failed, 0 errored");
  });

  test("clients that vanish under load take nothing with them", async () => {
    for (let round = 0; round < 3; round++) {
      const load = spawn("h2load", ["-n", "10000000", "-c", "8", "-m", "50", url("/large")]);
      await once(load.stdout, "data");
      await new Promise<void>((resolve) => {
        const before = served.sessions.length;
        const look = (): void => {
          if (served.sessions.some((each) => each.busy) || served.sessions.length > before) resolve();
          else setImmediate(look);
        };
        look();
      });
      load.kill("SIGKILL");
      await once(load, "exit");
    }
    const session = connect(url());
    const get = session.request({ ":path": "/after" });
    const [headers] = await once(get, "response");
    expect(headers[":status"]).toBe(200);
    session.destroy();
  });
});

describe("runtimes", () => {
  test.each([
    ["node", []],
    ["bun", []],
    ["deno", ["run", "-A"]],
  ])("both engines work on %s", async (runtime, args) => {
    const script = fileURLToPath(new URL("./smoke.ts", import.meta.url));
    expect(await run(`${BIN}${runtime}`, [...args, script])).toContain("both engines work");
  });
});
