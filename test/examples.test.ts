/** Every example does what its README says. They load what they import from "skerry", as a reader's own config would. */
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { visit } from "./runtime/client.ts";
import { type EdgeProcess, type Runtime, startEdge } from "./support/edge.ts";
import { freePorts } from "./support/ports.ts";
import { type Child, listening, ROOT, run, start } from "./support/processes.ts";

const EXAMPLES = join(ROOT, "examples");
const SYSTEM_PORTS = { HTTP: "127.0.0.1:0", HTTPS: "127.0.0.1:0", ADMIN: "127.0.0.1:0" };

/** One of the two critics, on a given port. */
async function critic(name: string, port: number): Promise<Child> {
  const child = start("node", [join(EXAMPLES, "statler-waldorf/server.js")], {
    env: { SERVER_NAME: name, PORT: String(port), HOST: "127.0.0.1" },
  });
  await listening(port);
  return child;
}

/** `skerry dev` with an example's config: no name of it needs to exist, and certificates are local. */
function devEdge(
  example: string,
  env: Record<string, string>,
  runtime: Runtime = "node",
): Promise<EdgeProcess> {
  const storage = mkdtempSync(join(tmpdir(), "skerry-example-"));
  const config = join(EXAMPLES, example, "skerry.config.ts");
  return startEdge(runtime, config, {
    args: ["dev", "--json", "--config", config, "--storage", storage],
    env: { ...SYSTEM_PORTS, ...env },
  });
}

/** What `count` visits in a row were answered. */
async function answers(ask: () => Promise<string>, count: number): Promise<string[]> {
  const said: string[] = [];
  for (let i = 0; i < count; i++) said.push(await ask());
  return said;
}

/** Asks until all of `wanted` have answered, and nobody else: P2C leaves a server that was slow alone for a while. */
async function allAnswer(ask: () => Promise<string>, wanted: ReadonlySet<string>): Promise<void> {
  const heard = new Set<string>();
  const until = performance.now() + 20_000;
  while (heard.size < wanted.size && performance.now() < until) {
    const said = await ask();
    expect(wanted).toContain(said);
    heard.add(said);
  }
  expect(heard).toEqual(wanted);
}

test("every example folder is tested here", () => {
  const folders = readdirSync(EXAMPLES, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const source = readFileSync(new URL(import.meta.url), "utf8");
  expect(folders.length).toBeGreaterThan(0);
  for (const { name } of folders) expect(source).toContain(`describe("${name}"`);
});

describe("statler-waldorf", () => {
  test("with nginx, a server that is back already is left out, and visitors get 502", async () => {
    const [front, one, two] = (await freePorts(3)) as [number, number, number];
    const folder = mkdtempSync(join(tmpdir(), "skerry-nginx-"));
    const config = readFileSync(join(EXAMPLES, "statler-waldorf/nginx.conf"), "utf8")
      .replace("statler:8000", `127.0.0.1:${one}`)
      .replace("waldorf:8000", `127.0.0.1:${two}`)
      .replace("listen 80;", `listen 127.0.0.1:${front};`)
      .replace(
        "http {",
        `http { access_log off; ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
          .map((kind) => `${kind}_temp_path ${folder}/${kind};`)
          .join(" ")}`,
      );
    const file = join(folder, "nginx.conf");
    writeFileSync(file, `daemon off; master_process off; pid ${folder}/pid;\n${config}`);
    const nginx = start("nginx", ["-e", "stderr", "-p", folder, "-c", file], {
      env: { PATH: `${process.env.PATH ?? ""}:/usr/sbin` },
    });
    await listening(front);
    let critics = [await critic("statler", one), await critic("waldorf", two)];
    const ask = async (): Promise<string> => (await fetch(`http://127.0.0.1:${front}/`)).text();
    expect(new Set(await answers(ask, 4))).toEqual(
      new Set(["You have reached statler\n", "You have reached waldorf\n"]),
    );
    await critics[1]?.stop("SIGKILL");
    await answers(ask, 4); // nginx notices
    critics = [critics[0]!, await critic("waldorf", two)];
    expect(new Set(await answers(ask, 8))).toEqual(new Set(["You have reached statler\n"]));
    // Now the other: waldorf is up, yet nginx has nobody left to ask until the ten seconds are over.
    await critics[0]?.stop("SIGKILL");
    expect((await answers(ask, 4)).filter((text) => !text.includes("502 Bad Gateway"))).toEqual([]);
    await nginx.stop();
    await critics[1]?.stop();
  });

  for (const runtime of ["node", "bun", "deno"] as const)
    test(`with Skerry on ${runtime}, two restarts in a row cost nothing`, async () => {
      const [one, two] = (await freePorts(2)) as [number, number];
      const critics = [await critic("statler", one), await critic("waldorf", two)] as [Child, Child];
      const edge = await devEdge(
        "statler-waldorf",
        { SERVERS: `http://127.0.0.1:${one},http://127.0.0.1:${two}` },
        runtime,
      );
      const ask = async (): Promise<string> =>
        (await visit({ port: edge.https.port, host: "app.localhost" })).body;
      const both = new Set(["You have reached statler\n", "You have reached waldorf\n"]);
      await allAnswer(ask, both);
      await critics[1].stop("SIGKILL");
      expect(new Set(await answers(ask, 10))).toEqual(new Set(["You have reached statler\n"]));
      const waldorf = await critic("waldorf", two);
      await critics[0].stop("SIGKILL");
      expect(new Set(await answers(ask, 10))).toEqual(new Set(["You have reached waldorf\n"]));
      const statler = await critic("statler", one);
      await allAnswer(ask, both);
      expect((await edge.stop()).code).toBe(0);
      await Promise.all([statler, waldorf].map((child) => child.stop()));
    });

  test("by wormholes, both join by starting, and one leaves and comes back without a failed visit", async () => {
    const [one, two, port] = (await freePorts(3)) as [number, number, number];
    const storage = mkdtempSync(join(tmpdir(), "skerry-example-"));
    const config = join(EXAMPLES, "statler-waldorf/wormhole.config.ts");
    const env = {
      HTTP: "127.0.0.1:0",
      ADMIN: "127.0.0.1:0",
      HTTPS: `127.0.0.1:${port}`,
      DIAL: `127.0.0.1:${port}`,
    };
    const edge = await startEdge("node", config, {
      args: ["dev", "--json", "--config", config, "--storage", storage],
      env,
    });
    const made = await run(
      "node",
      ["src/cli/skerry.ts", "token", "create", "critics", "--config", config, "--storage", storage],
      { env },
    );
    const token = made.stdout.replace(/^WORMHOLE_TOKEN=|\n$/g, "");
    const join_ = async (name: string, at: number): Promise<Child> => {
      const child = start(
        "node",
        ["src/cli/wormhole.ts", "node", join(EXAMPLES, "statler-waldorf/server.js")],
        {
          env: { WORMHOLE_TOKEN: token, SERVER_NAME: name, PORT: String(at), HOST: "127.0.0.1" },
        },
      );
      await child.saw(/wormhole\.joined/);
      return child;
    };
    const statler = await join_("statler", one);
    let waldorf = await join_("waldorf", two);
    const ask = async (): Promise<string> => (await visit({ port, host: "app.localhost" })).body;
    const both = new Set(["You have reached statler\n", "You have reached waldorf\n"]);
    await allAnswer(ask, both);
    const visits = answers(ask, 30);
    expect((await waldorf.stop()).code).toBe(0);
    for (const said of await visits) expect(both).toContain(said);
    expect(new Set(await answers(ask, 10))).toEqual(new Set(["You have reached statler\n"]));
    waldorf = await join_("waldorf", two);
    await allAnswer(ask, both);
    await Promise.all([statler.stop(), waldorf.stop()]);
    await edge.stop();
  });

  test("a critic leaves politely", async () => {
    const [port] = (await freePorts(1)) as [number];
    const child = await critic("statler", port);
    expect((await child.stop("SIGTERM")).code).toBe(0);
  });

  test("the compose file names files that are there", () => {
    const compose = readFileSync(join(EXAMPLES, "statler-waldorf/compose.yml"), "utf8");
    const mounted = [...compose.matchAll(/- \.\/([^:]+):/g)].map(([, file]) => file!);
    expect(mounted).toContain("nginx.conf");
    for (const file of mounted) expect(readdirSync(join(EXAMPLES, "statler-waldorf"))).toContain(file);
  });
});

describe("middleware", () => {
  test("routes, a password, a rate limit and a stamp on every answer", async () => {
    const [port] = (await freePorts(1)) as [number];
    const server = await critic("statler", port);
    const edge = await devEdge("middleware", {
      SERVER: `http://127.0.0.1:${port}`,
      OPS_PASSWORD: "open sesame",
    });
    const ask = (host: string, path: string, headers: Record<string, string> = {}) =>
      visit({ port: edge.https.port, host, path, headers });
    const hello = await ask("api.localhost", "/");
    expect([hello.body, hello.headers["x-edge"]]).toEqual(["hello from example\n", "example"]);
    expect((await ask("api.localhost", "/admin/x")).status).toBe(401);
    const authorization = `Basic ${Buffer.from("ops:open sesame").toString("base64")}`;
    expect((await ask("api.localhost", "/admin/x", { authorization })).body).toBe(
      "You have reached statler\n",
    );
    const statuses: number[] = [];
    for (let i = 0; i < 6; i++) statuses.push((await ask("api.localhost", "/v1/x")).status);
    expect(statuses).toEqual([200, 200, 200, 200, 200, 429]);
    const www = await ask("www.localhost", "/");
    expect(www.headers).toMatchObject({ "x-edge": "example", "x-served-by": `http://127.0.0.1:${port}` });
    await edge.stop();
    await server.stop();
  });
});

describe("own-certificates", () => {
  test("serves the PEM files that the config names", async () => {
    const [port] = (await freePorts(1)) as [number];
    const server = await critic("statler", port);
    const folder = mkdtempSync(join(tmpdir(), "skerry-example-"));
    const example = join(EXAMPLES, "own-certificates");
    const made = await run("sh", [join(example, "make-certificate.sh"), folder]);
    expect(made.code, made.output).toBe(0);
    const text = readFileSync(join(example, "skerry.config.json"), "utf8");
    const config = join(folder, "skerry.config.json");
    writeFileSync(
      config,
      text.replace("127.0.0.1:3000", `127.0.0.1:${port}`).replace(/:(8080|8443|9180)"/g, ':0"'),
    );
    const edge = await startEdge("node", config);
    const ca = readFileSync(join(folder, "cert.pem"), "utf8");
    const answer = await visit({ port: edge.https.port, host: "app.localhost", ca });
    expect(answer.body).toBe("You have reached statler\n");
    await edge.stop();
    await server.stop();
  });
});
