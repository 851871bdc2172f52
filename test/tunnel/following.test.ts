/** An agent and the edges that are announced to it: over real TLS, in this process. */
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type TLSSocket } from "node:tls";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { ByteStream } from "../../src/exchange/stream.ts";
import { createHttp1Transport } from "../../src/http1/transport.ts";
import { silentLog } from "../../src/log.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { openTunnelIdentity } from "../../src/tls/tunnel-identity.ts";
import { type Agent, createAgent } from "../../src/tunnel/agent.ts";
import { createGateway, type Gateway } from "../../src/tunnel/gateway.ts";
import { ALPN, type EdgeAddress, TUNNEL_NAME } from "../../src/tunnel/protocol.ts";
import { pinOf } from "../../src/tunnel/token.ts";
import { createTokenBook } from "../../src/tunnel/token-book.ts";
import { createPool } from "../../src/upstream/pool.ts";
import { jumpingClock } from "../support/manual-clock.ts";
import { eventually } from "../support/processes.ts";

interface TestEdge {
  readonly id: string;
  readonly address: string;
  readonly gateway: Gateway;
  announce(...edges: TestEdge[]): void;
  close(): void;
}

const storage = createMemoryStorage();
const tokens = createTokenBook(storage, systemClock);
const ends: (() => void)[] = [];
let identity: { key: string; chain: string };

beforeAll(async () => {
  identity = await openTunnelIdentity(storage, TUNNEL_NAME, systemClock);
});
afterEach(() => {
  for (const end of ends.splice(0).reverse()) end();
});

async function edge(id: string): Promise<TestEdge> {
  const pool = createPool("web", { clock: systemClock, random: Math.random });
  let edges: EdgeAddress[] = [];
  const gateway = createGateway({
    ...{ clock: systemClock, random: Math.random, log: silentLog, edgeId: id },
    transport: (connect) => createHttp1Transport({ connect, clock: systemClock }),
    check: (token) => tokens.check(token),
    pool: () => pool,
    edges: () => edges,
  });
  const sockets = new Set<TLSSocket>();
  const server = createServer(
    { key: identity.key, cert: identity.chain, ALPNProtocols: [ALPN] },
    (socket) => {
      sockets.add(socket);
      socket.on("error", () => {});
      gateway.accept(socket as unknown as ByteStream, "127.0.0.1", () => {});
    },
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const made: TestEdge = {
    id,
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    gateway,
    announce(...all) {
      edges = all.map((each) => ({ id: each.id, address: each.address }));
      gateway.announce();
    },
    close() {
      gateway.close();
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
  ends.push(() => made.close());
  return made;
}

async function agentOf(first: TestEdge, clock = jumpingClock()) {
  const pin = pinOf(new X509Certificate(identity.chain).raw);
  const { text } = await tokens.create({ backend: "web", address: first.address, pin });
  const lines: { event: string; edge: unknown }[] = [];
  const agent: Agent = createAgent({
    ...{ token: text, target: { host: "127.0.0.1", port: 9 }, app: "statler", version: "0" },
    ...{ instance: "instance-1", run: "run-1", connections: 1, clock, random: () => 0.01 },
    log: (_level, event, fields) => lines.push({ event, edge: fields?.edge }),
  });
  ends.push(() => agent.close());
  const count = (event: string, at: TestEdge): number =>
    lines.filter((line) => line.event === event && line.edge === at.address).length;
  return { agent, clock, count };
}

const joined = (...edges: TestEdge[]): Promise<true> =>
  eventually("the agent is joined", () => edges.every(({ gateway }) => gateway.wormholes().length === 1));

describe("an agent", () => {
  test("joins what any of its edges announces, whatever another one, cut off, still says", async () => {
    const [a, b, c] = [await edge("a"), await edge("b"), await edge("c")];
    a.announce(a, b);
    b.announce(b, c);
    c.announce(b, c);
    const { count } = await agentOf(a);
    await joined(a, b, c);
    // The one that is cut off says its old word again.
    a.announce(a, b);
    const d = await edge("d");
    b.announce(b, c, d);
    await joined(d);
    for (const each of [a, b, c, d])
      expect([count("wormhole.joined", each), count("wormhole.lost", each)]).toEqual([1, 0]);
  });

  test("keeps a connection that works to an edge that nobody announces any more", async () => {
    const [first, a, b] = [await edge("first"), await edge("a"), await edge("b")];
    for (const each of [first, a, b]) each.announce(first, a, b);
    const { count } = await agentOf(first);
    await joined(first, a, b);
    for (const each of [first, a, b]) each.announce(first, b);
    const c = await edge("c");
    b.announce(first, b, c);
    await joined(c);
    expect(a.gateway.wormholes().length).toBe(1);
    expect(count("wormhole.lost", a)).toBe(0);
  });

  test("dials an edge that is gone for a minute more, and then no more", async () => {
    const [first, a] = [await edge("first"), await edge("a")];
    for (const each of [first, a]) each.announce(first, a);
    const { count, clock } = await agentOf(first);
    await joined(first, a);
    first.announce(first);
    a.close();
    await eventually("it is lost", () => count("wormhole.lost", a) === 1);
    const pass = async (seconds: number): Promise<void> => {
      for (let second = 0; second < seconds; second++) {
        clock.jump(1000);
        await new Promise((resolve) => setImmediate(resolve));
        await joined(first);
      }
    };
    await pass(45);
    const tries = count("wormhole.unreachable", a);
    expect(tries).toBeGreaterThan(5);
    await pass(60);
    const after = count("wormhole.unreachable", a);
    await pass(60);
    expect(count("wormhole.unreachable", a)).toBe(after);
    expect(first.gateway.wormholes().length).toBe(1);
  });
});
