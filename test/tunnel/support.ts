/** An edge's gateway and agents' links in this process, joined by streams in memory; targets are real TCP servers. */
import { once } from "node:events";
import { createServer as createHttp, type RequestListener } from "node:http";
import type { AddressInfo, Server } from "node:net";
import { type Duplex, duplexPair } from "node:stream";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { EdgeError } from "../../src/errors.ts";
import { collect } from "../../src/exchange/body.ts";
import type { UpstreamRequest } from "../../src/exchange/dispatch.ts";
import type { ByteStream } from "../../src/exchange/stream.ts";
import { createHttp1Transport } from "../../src/http1/transport.ts";
import { silentLog } from "../../src/log.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { createGateway, type Gateway, type GatewayLimits } from "../../src/tunnel/gateway.ts";
import { type Link, type LinkOptions, openLink, type Target } from "../../src/tunnel/link.ts";
import type { EdgeAddress, Hello } from "../../src/tunnel/protocol.ts";
import { createTokenBook, type TokenBook } from "../../src/tunnel/token-book.ts";
import { createPool, type Pool } from "../../src/upstream/pool.ts";
import type { Server as Member } from "../../src/upstream/server.ts";

/** A connection in memory. */
export type Wire = Duplex & ByteStream;

export function wires(): [Wire, Wire] {
  return duplexPair() as unknown as [Wire, Wire];
}

export interface EdgeSide {
  readonly gateway: Gateway;
  readonly pools: Map<string, Pool>;
  readonly tokens: TokenBook;
  readonly events: string[];
  edges: EdgeAddress[];
}

export function edgeSide(options: { clock?: Clock; limits?: GatewayLimits } = {}): EdgeSide {
  const { clock = systemClock, limits } = options;
  const random = (): number => 0.5;
  const pools = new Map([["web", createPool("web", { clock, random })]]);
  const tokens = createTokenBook(createMemoryStorage(), clock);
  const events: string[] = [];
  const side: EdgeSide = {
    pools,
    tokens,
    events,
    edges: [],
    gateway: createGateway({
      clock,
      random,
      log: silentLog,
      edgeId: "edge-1",
      ...(limits && { limits }),
      transport: (connect) => createHttp1Transport({ connect, clock }),
      check: (token) => tokens.check(token),
      pool: (name) => pools.get(name),
      edges: () => side.edges,
      onSession: (event) => events.push(event),
    }),
  };
  return side;
}

export async function tokenFor(side: EdgeSide, backend = "web", lifetimeMs?: number): Promise<string> {
  const made = await side.tokens.create({ backend, address: "127.0.0.1:1", pin: undefined }, lifetimeMs);
  return made.text;
}

/** What happened to a link, in order: "welcome", "reject: …", "draining", "drained", "close: …". */
export interface TestLink {
  readonly link: Link;
  readonly heard: string[];
  readonly inFlight: number[];
  /** The agent's end of the connection, and the edge's. */
  readonly agentEnd: Wire;
  readonly edgeEnd: Wire;
  /** Waits until something was heard that matches. */
  saw(pattern: RegExp): Promise<string>;
}

export interface DialOptions {
  readonly token: string;
  readonly target: Target;
  readonly clock?: Clock;
  readonly hello?: Partial<Hello>;
}

export function helloOf(token: string, extra: Partial<Hello> = {}): Hello {
  return {
    type: "hello",
    proto: 1,
    features: [],
    token,
    instance: "instance-1",
    run: "run-1",
    slot: 0,
    app: "statler",
    labels: { zone: "a" },
    release: { sha: "abc" },
    version: "0",
    healthy: true,
    ...extra,
  };
}

export function dial(side: EdgeSide, options: DialOptions): TestLink {
  const { clock = systemClock } = options;
  const [agentEnd, edgeEnd] = wires();
  const heard: string[] = [];
  const inFlight: number[] = [];
  let wake = (): void => {};
  const say = (what: string): void => {
    heard.push(what);
    wake();
  };
  const linkOptions: LinkOptions = {
    clock,
    random: () => 0.5,
    target: options.target,
    hello: () => helloOf(options.token, options.hello),
    onWelcome: (edgeId, _edges, server) => say(`welcome: ${edgeId} ${server}`),
    onReject: ({ reason, permanent }) => say(`reject: ${reason}${permanent ? " (permanent)" : ""}`),
    onEdges: (edges) => say(`edges: ${edges.map(({ address }) => address).join()}`),
    onDraining: () => say("draining"),
    onDrained: () => say("drained"),
    onLeaving: () => say("leaving"),
    onInFlight: (here) => inFlight.push(here),
    onClose: (reason) => say(`close: ${reason}`),
  };
  const link = openLink(agentEnd, linkOptions);
  side.gateway.accept(edgeEnd, "127.0.0.1", () => say("edge closed"));
  return {
    link,
    heard,
    inFlight,
    agentEnd,
    edgeEnd,
    async saw(pattern) {
      for (;;) {
        const found = heard.find((each) => pattern.test(each));
        if (found !== undefined) return found;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
    },
  };
}

export interface TestTarget extends Target {
  readonly server: Server;
  close(): Promise<void>;
}

/** An HTTP server on the loopback. */
export async function target(handler: RequestListener): Promise<TestTarget> {
  const server = createHttp(handler);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    server,
    async close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

/** One request by way of a pool's member. */
export function ask(member: Member, path = "/", extra: Partial<UpstreamRequest> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    member.transport.dispatch(
      {
        method: "GET",
        path,
        scheme: "http",
        authority: "app.test",
        headers: [],
        body: undefined,
        protocol: undefined,
        ...extra,
      },
      {
        inform() {},
        upgraded() {},
        respond(head, body) {
          if (body === undefined) resolve({ status: head.status, body: Buffer.alloc(0) });
          else
            collect(body).then((bytes) => resolve({ status: head.status, body: Buffer.from(bytes) }), reject);
        },
        failed: (error: EdgeError) => reject(error),
      },
    );
  });
}

/** Turns of the event loop, for what needs no time but a few of them. */
export async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}
