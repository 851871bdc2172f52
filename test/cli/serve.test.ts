/** `skerry serve` and `skerry up` between start and exit: signals, reload, faults in the user's code. */

import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { visit } from "../runtime/client.ts";
import { type OwnCertificate, ownCertificate } from "../runtime/own-certificate.ts";
import { configFile, startEdge } from "../support/edge.ts";
import { eventually } from "../support/processes.ts";

const HOST = "app.example.test";
const LISTEN = { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" };

/** Answers every path but /hold, which it never answers. */
const origin = createServer((request, response) => {
  if (request.url !== "/hold") response.end("hello\n");
});
let server: string;
let own: OwnCertificate;

beforeAll(async () => {
  await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
  server = `http://127.0.0.1:${(origin.address() as AddressInfo).port}`;
  own = await ownCertificate([HOST]);
});
afterAll(() => {
  origin.closeAllConnections();
  origin.close();
});

/** A config of code whose one host runs `middleware` in front of the origin. */
const configOf = (middleware: string): string => `import { defineEdge } from "skerry";
export default defineEdge({
  listen: ${JSON.stringify(LISTEN)},
  backends: { web: { servers: ["${server}"] } },
  hosts: {
    "${HOST}": { backend: "web", tls: ${JSON.stringify(own.tls)}, use: [${middleware}] },
  },
});
`;

const stamp = (word: string): string =>
  `async (c, next) => { await next(); c.res.headers.set("x-config", "${word}"); }`;

describe.each(["node", "bun", "deno"] as const)("on %s", (runtime) => {
  test("SIGHUP brings new middleware in, and a broken config changes nothing", async () => {
    const path = configFile(configOf(stamp("one")), "skerry.config.ts");
    const edge = await startEdge(runtime, path);
    const ask = async (): Promise<unknown> =>
      (await visit({ port: edge.https.port, host: HOST, ca: own.root })).headers["x-config"];
    expect(await ask()).toBe("one");
    writeFileSync(path, configOf(stamp("two")));
    edge.process.signal("SIGHUP");
    await edge.process.saw(/"event":"edge\.reloaded"/);
    expect(await ask()).toBe("two");
    writeFileSync(path, configOf(stamp("three")).replace("backend:", "backnd:"));
    edge.process.signal("SIGHUP");
    await edge.process.saw(/"event":"config\.refused"/);
    expect(edge.logs("config.refused")[0]).toMatchObject({
      level: "error",
      code: "CONFIG_INVALID",
      message: expect.stringContaining(`hosts["${HOST}"].backnd: unknown field; did you mean "backend"?`),
    });
    expect(await ask()).toBe("two");
    writeFileSync(path, configOf(stamp("four")));
    edge.process.signal("SIGHUP");
    await edge.process.saw(/"event":"edge\.reloaded"[\s\S]*"event":"edge\.reloaded"/);
    expect(await ask()).toBe("four");
    expect(await edge.stop()).toEqual({ code: 0, signal: undefined });
  });

  test("a second signal ends it at once, with the signal's exit code", async () => {
    const path = configFile(configOf(""), "skerry.config.ts");
    for (const [signal, code] of [
      ["SIGTERM", 143],
      ["SIGINT", 130],
    ] as const) {
      const edge = await startEdge(runtime, path);
      const held = visit({ port: edge.https.port, host: HOST, ca: own.root, path: "/hold" }).catch(
        () => "cut",
      );
      const arrived = new Promise((resolve) => origin.once("request", resolve));
      await arrived;
      edge.process.signal("SIGTERM");
      await edge.process.saw(/"event":"process\.stopping"/);
      // The same signal again at once counts as one, so it is said until it is heard.
      await eventually("the end", () => {
        edge.process.signal(signal);
        return !edge.process.running();
      });
      expect(await edge.process.ended).toEqual({ code, signal: undefined });
      expect(await held).toBe("cut");
    }
  });

  test("an error that nobody catches in middleware is logged, and the edge goes on", async () => {
    const late = `async (c, next) => {
      if (c.req.path === "/throw") setTimeout(() => { throw new Error("nobody catches this"); }, 1);
      if (c.req.path === "/reject") void Promise.reject(new Error("nor this"));
      await next();
    }`;
    const edge = await startEdge(runtime, configFile(configOf(late), "skerry.config.ts"));
    const ask = async (path: string): Promise<number> =>
      (await visit({ port: edge.https.port, host: HOST, ca: own.root, path })).status;
    expect(await ask("/throw")).toBe(200);
    await edge.process.saw(/process\.uncaught/);
    expect(await ask("/reject")).toBe(200);
    await edge.process.saw(/nor this/);
    expect(await ask("/")).toBe(200);
    expect(edge.logs("process.uncaught").map(({ message }) => message)).toEqual([
      "nobody catches this",
      "nor this",
    ]);
    expect(await edge.stop()).toEqual({ code: 0, signal: undefined });
  });

  test("up serves without a config file, and keeps its certificates where it is told", async () => {
    const cwd = mkdtempSync(join(tmpdir(), "skerry-up-"));
    // Nobody answers there: the order fails and is tried again, which must not stop the edge.
    const args = [
      "up",
      HOST,
      "--to",
      server,
      "--agree-to-terms",
      "--acme-directory",
      "https://127.0.0.1:1/dir",
    ];
    const listen = Object.entries(LISTEN).flatMap(([name, address]) => [`--${name}`, address]);
    const edge = await startEdge(runtime, "", {
      args: [...args, ...listen, "--storage", "file:./kept", "--location", "yvr"],
      cwd,
    });
    await edge.process.saw(new RegExp(`skerry: serving https://${HOST} from ${server}`));
    expect(edge.http.port).toBeGreaterThan(0);
    expect(readdirSync(cwd)).toEqual(["kept"]);
    expect(await edge.stop()).toEqual({ code: 0, signal: undefined });
  });
});
