/** Servers behind a name, as in Docker, Kubernetes or Fly: they join and leave by DNS alone, under load. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Load, startLoad, visit, visitPlain } from "../runtime/client.ts";
import { type OwnCertificate, ownCertificate } from "../runtime/own-certificate.ts";
import { type Dnsmasq, startDnsmasq } from "../support/dns.ts";
import { configFile, type EdgeProcess, type Runtime, startEdge } from "../support/edge.ts";
import { freePort } from "../support/ports.ts";
import { eventually } from "../support/processes.ts";

const HOST = "app.example.test";
const SRV_HOST = "srv.example.test";
const LATE_HOST = "late.example.test";
const TTL = 1;
/** What the promise is: right within the TTL and a second. */
const BOUND_MS = TTL * 1000 + 1000;

interface Container {
  readonly address: string;
  /** Closes its listener and every connection at once. */
  kill(): Promise<void>;
}

async function startContainer(address: string, port: number): Promise<Container> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((_request, response) => {
    response.setHeader("x-backend", address);
    response.end(`You have reached ${address}`);
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.listen(port, address);
  await once(server, "listening");
  return {
    address,
    async kill() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

describe.each(["node", "bun", "deno"] as const)("%s: servers behind a name", (runtime: Runtime) => {
  const [A, B, C] = ["127.0.0.2", "127.0.0.3", "127.0.0.4"] as const;
  let port: number;
  let containers: Record<string, Container>;
  let dns: Dnsmasq;
  let own: OwnCertificate;
  let edge: EdgeProcess;
  let load: Load;

  const members = async (backend = "web"): Promise<string[]> => {
    const { body } = await visitPlain({ port: edge.admin.port, host: "localhost", path: "/backends" });
    const { backends } = JSON.parse(body) as { backends: { name: string; servers: { id: string }[] }[] };
    return (backends.find(({ name }) => name === backend)?.servers ?? []).map(({ id }) => id).sort();
  };
  const ids = (...addresses: string[]): string[] =>
    addresses.map((address) => `http://web.test:${port} (${address})`);
  const failures = async (): Promise<number> => {
    const { body } = await visitPlain({ port: edge.admin.port, host: "localhost", path: "/metrics" });
    return Number(/^skerry_dns_failures_total\{name="web\.test"\} (\d+)/m.exec(body)?.[1] ?? 0);
  };
  /** Changes DNS and gives the time until the members are as it says. */
  const becomes = async (...addresses: string[]): Promise<number> => {
    const startedAt = performance.now();
    dns.set({ "web.test": addresses });
    await eventually(
      `members ${addresses}`,
      async () => (await members()).join() === ids(...addresses).join(),
      BOUND_MS + 3000,
    );
    return performance.now() - startedAt;
  };
  /** Waits until servers have answered so many more requests. */
  const answers = async (count: number): Promise<void> => {
    const wanted = load.tally.done + count;
    await eventually(
      `${count} more answers`,
      () => load.tally.done >= wanted || load.tally.failures.length > 0,
    );
  };

  beforeAll(async () => {
    port = await freePort();
    containers = {};
    for (const address of [A, B, C]) containers[address] = await startContainer(address, port);
    dns = await startDnsmasq(TTL, { "web.test": [A, B] }, [
      `_http._tcp.test,web.test,${port},10,5`,
      `_http._tcp.test,nowhere.test,${port},20,5`,
    ]);
    own = await ownCertificate([HOST, SRV_HOST, LATE_HOST]);
    const { tls } = own;
    edge = await startEdge(
      runtime,
      configFile({
        listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
        dns: { servers: [dns.address] },
        backends: {
          web: { servers: [`http://web.test:${port}`] },
          srv: { servers: ["srv+http://_http._tcp.test"] },
          late: { servers: [`http://late.test:${port}`] },
        },
        hosts: {
          [HOST]: { backend: "web", tls },
          [SRV_HOST]: { backend: "srv", tls },
          [LATE_HOST]: { backend: "late", tls },
        },
        accessLog: false,
      }),
    );
    load = startLoad({ port: edge.https.port, host: HOST, ca: own.root });
  });
  afterAll(async () => {
    await load?.stop();
    await edge?.stop();
    await dns?.process.stop();
    await Promise.all(Object.values(containers ?? {}).map((container) => container.kill().catch(() => {})));
  });

  test("are known when the edge is ready, and all get requests", async () => {
    expect(await members()).toEqual(ids(A, B));
    await answers(60);
    expect([...load.tally.servers.keys()].sort()).toEqual([A, B]);
  });

  test("SRV records say port and priority", async () => {
    expect(await members("srv")).toEqual(
      [A, B].map((address) => `srv+http://_http._tcp.test (${address}:${port})`),
    );
    const answer = await visit({ port: edge.https.port, host: SRV_HOST, ca: own.root });
    expect(answer.status).toBe(200);
  });

  test("join and leave within the TTL and a second", async () => {
    expect(await becomes(B, C)).toBeLessThan(BOUND_MS);
    await containers[A]!.kill();
    await answers(60);
    expect(load.tally.servers.has(C)).toBe(true);
    containers[A] = await startContainer(A, port);
    expect(await becomes(A, B, C)).toBeLessThan(BOUND_MS);
    await answers(60);
  });

  test("may die before DNS knows of it", async () => {
    await containers[C]!.kill();
    await answers(60);
    expect(await becomes(A, B)).toBeLessThan(BOUND_MS);
    await answers(60);
  });

  test("whose name is new are found as soon as it is there", async () => {
    const before = await visit({ port: edge.https.port, host: LATE_HOST, ca: own.root });
    expect(before.status).toBe(503);
    dns.set({ "web.test": [A, B], "late.test": [A] });
    await eventually("the late name", async () => (await members("late")).length === 1);
    const after = await visit({ port: edge.https.port, host: LATE_HOST, ca: own.root });
    expect(after.body).toBe(`You have reached ${A}`);
  });

  test("stay when their name is gone, and when DNS is away", async () => {
    dns.set({});
    await eventually("dns.failed", () => edge.logs("dns.failed").some(({ name }) => name === "web.test"));
    await dns.process.stop();
    // The third failure comes three seconds after the first, when the TTL is long over.
    await eventually("three failures", async () => (await failures()) >= 3);
    await answers(60);
    expect(await members()).toEqual(ids(A, B));
    expect(edge.logs("dns.failed").filter(({ name }) => name === "web.test")).toHaveLength(1);
  });

  test("no request failed in all this", async () => {
    const { done, failures } = await load.stop();
    expect(failures).toEqual([]);
    expect(done).toBeGreaterThan(360);
  });
});
