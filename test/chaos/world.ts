/** Three edges of three runtimes, each behind relays of its own to three NATS servers; Pebble, agents, and who was hurt when. */
import { X509Certificate } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";
import { makeFleetKey, parseFleetKeys } from "../../src/storage/seal.ts";
import type { Storage } from "../../src/storage/storage.ts";
import { openTunnelIdentity } from "../../src/tls/tunnel-identity.ts";
import { TUNNEL_NAME } from "../../src/tunnel/protocol.ts";
import { formatToken, parseToken, pinOf } from "../../src/tunnel/token.ts";
import { createTokenBook, type TokenBook } from "../../src/tunnel/token-book.ts";
import { startOrigin } from "../runtime/origin.ts";
import { type AcmeFront, startAcmeFront } from "../support/acme-front.ts";
import { configFile, type EdgeProcess, type Runtime, startEdge } from "../support/edge.ts";
import { startFront } from "../support/front.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePorts } from "../support/ports.ts";
import { type Child, eventually } from "../support/processes.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { wormhole } from "../tunnel/processes.ts";

export const RUNTIMES: readonly Runtime[] = ["node", "bun", "deno"];
/** The last has a backend whose tokens are revoked. */
export const HOSTS = {
  fixed: "fixed.example.test",
  tunnel: "tunnel.example.test",
  more: "more.example.test",
  guest: "guest.example.test",
} as const;
export const NAMES: readonly string[] = Object.values(HOSTS);
const AGENTS = ["statler", "waldorf"] as const;
/** Renewed by themselves at two thirds of it. */
const VALIDITY_S = 60;
const JOIN_MS = 60_000;

/** One run of an edge. */
export interface Life {
  readonly edge: EdgeProcess;
  readonly startedAt: number;
  killedAt?: number;
  /** It was told to end, one way or the other. */
  ended: boolean;
}

/** An edge's place, which is restarted there. */
export interface Seat {
  readonly index: number;
  readonly https: number;
  readonly lives: Life[];
  readonly relays: readonly Relay[];
  /** Visitors are sent to it. */
  open: boolean;
  /** It has the agents, and visitors of them are sent to it. */
  joined: boolean;
}

export interface World {
  readonly seats: readonly Seat[];
  readonly nats: Nats;
  readonly pebble: Pebble;
  readonly ca: AcmeFront;
  /** Of the harness itself, by a way that is not cut. */
  readonly storage: Storage;
  readonly tokens: TokenBook;
  /** Wall times of what may cost an order. */
  readonly hurts: { readonly at: number; readonly what: string }[];
  readonly agents: (Child | undefined)[];
  start(seat: Seat): Promise<void>;
  startAgent(index: number): void;
  /** An agent of the guest backend, with a token of its own. */
  guest(): Promise<{ readonly id: string; readonly child: Child }>;
  /** How many containers of a backend an edge has. */
  containers(life: Life, backend: string): Promise<number>;
  /** The edge has all agents that run. */
  whole(seat: Seat): Promise<void>;
  hurt(what: string): void;
  close(): Promise<void>;
}

export const lifeOf = (seat: Seat): Life => seat.lives.at(-1)!;

export async function startWorld(): Promise<World> {
  const key = makeFleetKey();
  const seats: Seat[] = [];
  let plain: readonly number[] = [];
  const [nats, origin, ports, front] = await Promise.all([
    startNats({ servers: 3, advertise: false, relayed: true }),
    startOrigin("fixed"),
    freePorts(RUNTIMES.length * 2),
    // All of them, as DNS has it; who asks goes on to the next where nobody answers.
    startFront(() => plain),
  ]);
  plain = ports.slice(RUNTIMES.length);
  const pebble = await startPebble({ httpPort: front.port, validitySeconds: VALIDITY_S });
  const ca = await startAcmeFront(pebble);
  const storage = openNatsStorage({
    place: { servers: nats.servers, bucket: "skerry" },
    keys: parseFleetKeys(key, "chaos"),
    copy: mkdtempSync(join(tmpdir(), "skerry-chaos-")),
    clock: systemClock,
    log: silentLog,
  });
  const tokens = createTokenBook(storage, systemClock);
  const configs: string[] = [];
  for (const index of RUNTIMES.keys()) {
    const relays = await Promise.all(
      nats.servers.map((server) => startRelay({ port: Number(server.split(":")[1]) })),
    );
    const https = ports[index]!;
    seats.push({ index, https, relays, lives: [], open: false, joined: false });
    configs.push(
      configFile({
        listen: {
          http: `127.0.0.1:${plain[index]}`,
          https: `127.0.0.1:${https}`,
          admin: "127.0.0.1:0",
        },
        storage: `nats://${relays.map(({ port }) => `127.0.0.1:${port}`).join(",")}`,
        location: `place-${index}`,
        tunnel: { address: `127.0.0.1:${https}` },
        accessLog: false,
        logLevel: "debug",
        acme: { directory: ca.directory, trustedCa: ca.caPath, agreeToTerms: true },
        backends: { fixed: { servers: [origin.url] }, tunnel: {}, guest: {} },
        hosts: {
          [HOSTS.fixed]: { backend: "fixed" },
          [HOSTS.more]: { backend: "fixed" },
          [HOSTS.tunnel]: { backend: "tunnel" },
          [HOSTS.guest]: { backend: "guest" },
        },
      }),
    );
  }
  const agents: (Child | undefined)[] = AGENTS.map(() => undefined);
  const guests = new Set<Child>();
  const hurts: { at: number; what: string }[] = [];
  let token = "";
  /** As a name with the addresses of all edges: an agent dials one that is there. */
  const dialling = (text: string): string => {
    const there = seats.find(({ open }) => open) ?? seats[0]!;
    return formatToken({ ...parseToken(text), address: `127.0.0.1:${there.https}` });
  };
  const create = async (backend: string): Promise<string> => {
    const pair = await openTunnelIdentity(storage, TUNNEL_NAME, systemClock);
    const pin = pinOf(new X509Certificate(pair.chain).raw);
    return (await tokens.create({ backend, address: "127.0.0.1:1", pin }, undefined)).text;
  };
  const containers = async ({ edge }: Life, backend: string): Promise<number> => {
    const answer = await fetch(`http://127.0.0.1:${edge.admin.port}/backends`);
    const { backends } = (await answer.json()) as {
      backends: { name: string; servers: { state: string }[] }[];
    };
    const found = backends.find(({ name }) => name === backend);
    return found?.servers.filter(({ state }) => state === "available").length ?? 0;
  };

  const world: World = {
    ...{ seats, nats, pebble, ca, storage, tokens, hurts, agents, containers },
    async start(seat) {
      const edge = await startEdge(RUNTIMES[seat.index]!, configs[seat.index]!, {
        env: { SKERRY_FLEET_KEY: key },
        boundMs: 60_000,
      });
      seat.lives.push({ edge, startedAt: Date.now(), ended: false });
      seat.open = true;
    },
    startAgent(index) {
      agents[index] = wormhole("node", dialling(token), AGENTS[index]!, { args: ["--grace", "3"] });
    },
    async guest() {
      // The harness is tied to storage as any edge is, which may be away after the blow before.
      const text = await eventually("a token is made", () => create("guest").catch(() => undefined), JOIN_MS);
      const child = wormhole("node", dialling(text), "guest");
      guests.add(child);
      return { id: parseToken(text).id, child };
    },
    async whole(seat) {
      const life = lifeOf(seat);
      await eventually(
        `place-${seat.index} has all agents`,
        async () =>
          life.ended ||
          (await containers(life, "tunnel")) >= agents.filter((agent) => agent?.running()).length,
        JOIN_MS,
      );
    },
    hurt: (what) => void hurts.push({ at: Date.now(), what }),
    async close() {
      await Promise.all([...agents, ...guests].map((child) => child?.killAll()));
      await Promise.all(seats.flatMap(({ lives }) => lives).map(({ edge }) => edge.stop("SIGKILL")));
      await storage.close();
      await Promise.all(seats.flatMap(({ relays }) => relays).map((relay) => relay.close()));
      front.close();
      await Promise.all([nats.close(), ca.close(), pebble.close(), origin.close()]);
    },
  };
  await Promise.all(seats.map((seat) => world.start(seat)));
  token = await create("tunnel");
  for (const index of AGENTS.keys()) world.startAgent(index);
  for (const seat of seats) {
    await world.whole(seat);
    seat.joined = true;
  }
  return world;
}
