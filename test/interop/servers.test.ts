/** Other people's servers behind an edge, each with its own habits of framing, closing and keeping alive. */
import { createServer as createHttp2Server } from "node:http2";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { edgeFor, quiet, RUNTIMES, surprises, type TestEdge } from "../e2e/edges.ts";
import { startWitnesses, type Witnesses } from "../fuzz/origins.ts";
import { visit } from "../runtime/client.ts";
import { startNginx } from "../support/nginx.ts";
import { freePort } from "../support/ports.ts";
import { BIN, listening, start } from "../support/processes.ts";
import { type Site, startSite } from "./site.ts";

const ANSWER = '[request.method, new URL(request.url).pathname, await request.text()].join(" ")';
/** Programs by host; PORT is filled in. Each says method, path and body, or for Python, which only gives files, a list. */
const PROGRAMS: Readonly<Record<string, readonly [string, ...string[]]>> = {
  "bun.test": [
    `${BIN}/bun`,
    "-e",
    `Bun.serve({ port: PORT, hostname: "127.0.0.1", fetch: async (request) => new Response(${ANSWER}) })`,
  ],
  "deno.test": [
    `${BIN}/deno`,
    "eval",
    `Deno.serve({ port: PORT, hostname: "127.0.0.1" }, async (request) => new Response(${ANSWER}))`,
  ],
  "python.test": [
    "/usr/bin/python3",
    "-m",
    "http.server",
    "--bind",
    "127.0.0.1",
    "--directory",
    "test/http1",
    "PORT",
  ],
};

let sites: Record<string, readonly string[]>;
let witnesses: Witnesses;
let site: Site;
const h2c = createHttp2Server((request, response) => {
  let body = "";
  request.setEncoding("latin1").on("data", (text: string) => {
    body += text;
  });
  request.on("end", () => response.end(`${request.method} ${request.url} ${body}`));
});

beforeAll(async () => {
  site = await startSite();
  witnesses = await startWitnesses();
  const nginx = await startNginx("nginx");
  await new Promise<void>((resolve) => h2c.listen({ port: 0, host: "127.0.0.1" }, resolve));
  sites = {
    "node.test": [site.url],
    "nginx.test": [nginx.url],
    "apache.test": [witnesses.apache.url],
    "h2c.test": [`h2c://127.0.0.1:${(h2c.address() as AddressInfo).port}`],
  };
  for (const [host, [command, ...args]] of Object.entries(PROGRAMS)) {
    const port = await freePort();
    start(
      command,
      args.map((word) => word.replaceAll("PORT", String(port))),
    );
    await listening(port);
    sites = { ...sites, [host]: [`http://127.0.0.1:${port}`] };
  }
});
afterAll(async () => {
  h2c.close();
  await Promise.all([site?.close(), witnesses?.close()]);
});

describe.each(RUNTIMES)("servers behind an edge on %s", (runtime) => {
  let edge: TestEdge;
  beforeAll(async () => {
    edge = await edgeFor(runtime, sites);
  });
  afterAll(async () => {
    await edge?.stop();
  });

  const ask = async (host: string, path: string, body?: string): Promise<string> => {
    const method = body === undefined ? {} : { method: "POST", body };
    const { status, body: text } = await visit({ port: edge.https.port, host, ca: edge.ca, path, ...method });
    return `${status} ${text.trimEnd()}`;
  };
  const many = <T>(work: () => Promise<T>, count = 30): Promise<T[]> =>
    Promise.all(Array.from({ length: count }, work));
  const body = "b".repeat(50_000);

  test.each(["bun.test", "deno.test", "h2c.test"])(
    "%s answers GETs and POSTs, side by side and again",
    async (host) => {
      for (let round = 0; round < 2; round++) {
        expect(new Set(await many(() => ask(host, "/x")))).toEqual(new Set(["200 GET /x"]));
        expect(new Set(await many(() => ask(host, "/y", body)))).toEqual(new Set([`200 POST /y ${body}`]));
      }
    },
  );

  test("Node's http, nginx and Apache, likewise", async () => {
    for (let round = 0; round < 2; round++) {
      expect(new Set(await many(() => ask("node.test", "/x")))).toEqual(new Set(["200 GET /x"]));
      expect(new Set(await many(() => ask("node.test", "/echo", body)))).toEqual(new Set([`200 ${body}`]));
      expect(new Set(await many(() => ask("nginx.test", "/")))).toEqual(
        new Set(["200 You have reached nginx"]),
      );
      expect(new Set(await many(() => ask("apache.test", "/y", body)))).toEqual(
        new Set([`200 POST /y\n${body}`]),
      );
    }
  });

  test("Python's http.server, which speaks HTTP/1.0 and closes after each answer", async () => {
    // Its queue holds five connections that wait to be accepted.
    const answers = await many(() => ask("python.test", "/wire.ts"), 4);
    expect(new Set(answers).size).toBe(1);
    expect(answers[0]).toMatch(/^200 .*export function collector/s);
    expect(await ask("python.test", "/none.ts")).toMatch(/^404 /);
  });

  test("nothing is left in flight, and nothing unforeseen happened", async () => {
    await quiet(edge);
    expect(surprises(edge)).toEqual([]);
  });
});
