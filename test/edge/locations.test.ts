/** Two edges with the servers of two locations, and a container in one of them, on every runtime. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { visit, visitPlain } from "../runtime/client.ts";
import { ownCertificate } from "../runtime/own-certificate.ts";
import { configFile, type EdgeProcess, type Runtime, startEdge } from "../support/edge.ts";
import { freePorts } from "../support/ports.ts";
import { eventually } from "../support/processes.ts";
import { joined, newToken, wormhole } from "../tunnel/processes.ts";

const HOST = "app.example.test";

/** Says who it is, and by which way it was asked. */
async function startServer(name: string, port = 0): Promise<{ url: string; port: number; stop(): void }> {
  const server: Server = createServer((request, response) => response.end(`${name} ${request.headers.via}`));
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const { port: taken } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${taken}`,
    port: taken,
    stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}

interface Attempt {
  readonly server: string;
  readonly location?: string;
  readonly place?: string;
}

describe.each(["node", "bun", "deno"] as const)("on %s", (runtime: Runtime) => {
  let servers: Awaited<ReturnType<typeof startServer>>[];
  let edges: EdgeProcess[];
  let config: string;
  let ca: string;

  const ask = async (edge: EdgeProcess): Promise<Awaited<ReturnType<typeof visit>>> =>
    visit({ port: edge.https.port, host: HOST, ca });
  const admin = async (edge: EdgeProcess, path: string): Promise<string> =>
    (await visitPlain({ port: edge.admin.port, host: "localhost", path })).body;
  const last = async (edge: EdgeProcess): Promise<Attempt> => {
    const { requests } = JSON.parse(await admin(edge, "/requests?limit=1")) as {
      requests: { attempts: Attempt[] }[];
    };
    return requests[0]!.attempts.at(-1)!;
  };

  beforeAll(async () => {
    const own = await ownCertificate([HOST]);
    ca = own.root;
    servers = [await startServer("statler"), await startServer("waldorf")];
    const [port] = await freePorts(1);
    const configOf = (https: string, tunnel?: object): string =>
      configFile({
        listen: { http: "127.0.0.1:0", https, admin: "127.0.0.1:0" },
        storage: "file:./certs",
        ...tunnel,
        locationHeader: true,
        explain: {},
        accessLog: false,
        backends: {
          web: {
            servers: [
              { url: servers[0]!.url, location: "yvr" },
              { url: servers[1]!.url, location: "fra" },
            ],
          },
          joined: {},
        },
        hosts: { [HOST]: { backend: "web", tls: own.tls } },
      });
    config = configOf(`127.0.0.1:${port}`, { tunnel: { address: `127.0.0.1:${port}` } });
    const files = [config, configOf("127.0.0.1:0")];
    edges = await Promise.all(
      ["yvr", "fra"].map((location, at) =>
        startEdge(runtime, files[at]!, { env: { SKERRY_LOCATION: location } }),
      ),
    );
  });
  afterAll(async () => {
    await Promise.all((edges ?? []).map((edge) => edge.stop()));
    for (const server of servers ?? []) server.stop();
  });

  test("each edge uses the server beside it, and says which edge it is", async () => {
    for (const [at, [edge, name, place]] of [
      [edges[0]!, "statler", "yvr"] as const,
      [edges[1]!, "waldorf", "fra"] as const,
    ].entries()) {
      for (let i = 0; i < 20; i++) {
        const answer = await ask(edge);
        expect(answer.body).toBe(`${name} 1.1 skerry-${place}`);
        expect(answer.headers["skerry-location"]).toBe(place);
      }
      expect(await last(edge)).toMatchObject({ server: servers[at]!.url, location: place, place: "local" });
    }
  });

  test("a location without servers that are well gets its answers from the other one, and its own back", async () => {
    const [edge, other] = [edges[0]!, edges[1]!];
    const { port } = servers[0]!;
    servers[0]!.stop();
    for (let i = 0; i < 20; i++) expect((await ask(edge)).body).toMatch(/^waldorf /);
    expect(await last(edge)).toMatchObject({ location: "fra", place: "spill: unhealthy" });
    expect(await admin(edge, "/metrics")).toMatch(
      /^skerry_upstream_spilled_total\{backend="web",location="fra",reason="unhealthy"\} [1-9]/m,
    );
    const { backends } = JSON.parse(await admin(edge, "/backends")) as {
      backends: { name: string; servers: { location?: string; state: string }[] }[];
    };
    expect(backends.find(({ name }) => name === "web")!.servers).toMatchObject([
      { location: "yvr", state: "ejected" },
      { location: "fra", state: "available" },
    ]);
    servers[0] = await startServer("statler", port);
    await eventually("its own server serves again", async () => (await ask(edge)).body.startsWith("statler"));
    for (let i = 0; i < 10; i++) expect((await ask(edge)).body).toMatch(/^statler /);
    expect((await ask(other)).body).toMatch(/^waldorf /);
  });

  test("a container says where it is, and relieves the edges there", async () => {
    const edge = edges[0]!;
    const { token } = await newToken(runtime, config);
    const agent = wormhole(runtime, token, "gonzo", { env: { WORMHOLE_LOCATION: "yvr" } });
    await joined(agent);
    const { wormholes } = JSON.parse(await admin(edge, "/wormholes")) as { wormholes: object[] };
    expect(wormholes).toMatchObject([{ app: "gonzo", location: "yvr" }]);
    const seen = new Set<string>();
    await eventually("both servers here were used", async () => {
      seen.add((await ask(edge)).body.split(" ")[0]!);
      return seen.size === 2;
    });
    expect([...seen].sort()).toEqual(["gonzo", "statler"]);
    const { port } = servers[0]!;
    servers[0]!.stop();
    // One of two is left here: 7 of 10 requests stay, and none fails.
    const bodies: string[] = [];
    for (let i = 0; i < 60; i++) bodies.push((await ask(edge)).body.split(" ")[0]!);
    expect(new Set(bodies)).toEqual(new Set(["gonzo", "waldorf"]));
    servers[0] = await startServer("statler", port);
    await agent.stop();
  });

  test("/readyz names a backend that cannot be reached, and one that nobody has joined, and stays 200", async () => {
    const edge = edges[1]!;
    const ready = async (): Promise<{ status: number; body: string }> =>
      visitPlain({ port: edge.admin.port, host: "localhost", path: "/readyz" });
    expect(JSON.parse((await ready()).body)).toEqual({
      status: "degraded",
      problems: ["joined: no wormhole has joined"],
    });
    for (const server of servers) server.stop();
    for (let i = 0; i < 3; i++) {
      const { status, headers } = await ask(edge);
      expect([status, headers["skerry-location"]]).toEqual([502, "fra"]);
    }
    const { status, body } = await ready();
    expect(status).toBe(200);
    const { problems } = JSON.parse(body) as { problems: string[] };
    expect(problems).toHaveLength(2);
    expect(problems.find((line) => line.startsWith("web:"))).toMatch(
      /^web: no server is available: \S+ cannot be reached, \S+ cannot be reached$/,
    );
    servers = [];
  });
});
