import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import { createServer, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { EdgeError } from "../../src/errors.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import type { ByteStream } from "../../src/exchange/stream.ts";
import { serveHttp2 } from "../../src/http2/server.ts";
import { TUNNEL_LIMITS } from "../../src/tunnel/limits.ts";
import { manualClock } from "../http2/support.ts";
import { ask, dial, edgeSide, helloOf, type TestTarget, target, tokenFor, turns, wires } from "./support.ts";

const open: TestTarget[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((each) => each.close()));
});

async function named(name: string): Promise<TestTarget> {
  const made = await target((_request, response) => response.end(name));
  open.push(made);
  return made;
}

describe("a wormhole", () => {
  test("joins its token's backend and is reached through the tunnel", async () => {
    const side = edgeSide();
    const link = dial(side, { token: await tokenFor(side), target: await named("statler") });
    expect(await link.saw(/welcome/)).toBe("welcome: edge-1 wormhole:statler-instance");
    const [member] = side.pools.get("web")!.members();
    expect((await ask(member!)).body.toString()).toBe("statler");
    expect(side.gateway.wormholes()).toEqual([
      expect.objectContaining({
        app: "statler",
        labels: { zone: "a" },
        release: { sha: "abc" },
        connections: 1,
      }),
    ]);
    side.gateway.close();
  });

  test("says where it runs, or says nothing", async () => {
    const side = edgeSide();
    const token = await tokenFor(side);
    for (const [instance, location] of [
      ["instance-1", "yvr"],
      ["instance-2", undefined],
    ] as const) {
      const hello = { instance, ...(location !== undefined && { location }) };
      await dial(side, { token, target: await named("x"), hello }).saw(/welcome/);
    }
    const locations = side.pools
      .get("web")!
      .members()
      .map((member) => member.location);
    expect(locations).toEqual(["yvr", undefined]);
    expect(side.gateway.wormholes().map((one) => one.location)).toEqual(locations);
    side.gateway.close();
  });

  test("keeps connections to the target alive between requests", async () => {
    const side = edgeSide();
    let connections = 0;
    const app = await named("x");
    app.server.on("connection", () => connections++);
    const link = dial(side, { token: await tokenFor(side), target: app });
    await link.saw(/welcome/);
    const [member] = side.pools.get("web")!.members();
    for (let i = 0; i < 5; i++) await ask(member!);
    expect(connections).toBe(1);
    side.gateway.close();
  });

  test("is one member however many connections it has, and stays until the last is gone", async () => {
    const side = edgeSide();
    const pool = side.pools.get("web")!;
    const token = await tokenFor(side);
    const app = await named("x");
    const links = [0, 1].map((slot) => dial(side, { token, target: app, hello: { slot } }));
    await Promise.all(links.map((link) => link.saw(/welcome/)));
    expect(pool.members().length).toBe(1);
    links[0]!.link.destroy("test");
    await links[0]!.saw(/edge closed/);
    expect(pool.members().length).toBe(1);
    expect((await ask(pool.members()[0]!)).status).toBe(200);
    links[1]!.link.destroy("test");
    await links[1]!.saw(/edge closed/);
    expect(pool.members()).toEqual([]);
  });

  test("leaves the rotation in the very tick in which its connection is lost", async () => {
    const side = edgeSide();
    const pool = side.pools.get("web")!;
    const link = dial(side, { token: await tokenFor(side), target: await named("x") });
    await link.saw(/welcome/);
    const leftIn = new Promise<number>((resolve) => {
      link.edgeEnd.prependOnceListener("close", () => queueMicrotask(() => resolve(pool.members().length)));
    });
    link.edgeEnd.destroy();
    expect(await leftIn).toBe(0);
  });

  test("replaces the connection of the same slot, and a new run all of the old one's", async () => {
    const side = edgeSide();
    const pool = side.pools.get("web")!;
    const token = await tokenFor(side);
    const old = dial(side, { token, target: await named("old") });
    await old.saw(/welcome/);
    const again = dial(side, { token, target: await named("again") });
    await again.saw(/welcome/);
    await old.saw(/edge closed/);
    expect((await ask(pool.members()[0]!)).body.toString()).toBe("again");
    const fresh = dial(side, { token, target: await named("new"), hello: { run: "run-2", slot: 1 } });
    await fresh.saw(/welcome/);
    await again.saw(/edge closed/);
    expect(pool.members().length).toBe(1);
    expect((await ask(pool.members()[0]!)).body.toString()).toBe("new");
    side.gateway.close();
  });

  test("comes by a second address in vain while it is joined by the first", async () => {
    const side = edgeSide();
    const token = await tokenFor(side);
    const app = await named("x");
    const first = dial(side, { token, target: app });
    await first.saw(/welcome/);
    const second = dial(side, { token, target: app, hello: { joined: ["edge-1"] } });
    expect(await second.saw(/reject/)).toBe("reject: joined by another address");
    expect(first.heard.filter((each) => each.startsWith("close"))).toEqual([]);
    side.gateway.close();
  });

  test("that is draining is picked no more at once, and hears when nothing is in flight", async () => {
    const side = edgeSide();
    const pool = side.pools.get("web")!;
    let finish = (): void => {};
    const app = await target((_request, response) => {
      response.write("begin ");
      finish = () => response.end("end");
    });
    open.push(app);
    const link = dial(side, { token: await tokenFor(side), target: app });
    await link.saw(/welcome/);
    const lease = pool.lease()!;
    const answer = ask(lease.server);
    while (app.server.connections === 0 || String(finish) === "() => {}") await turns(1);
    link.link.send({ type: "draining" });
    await link.saw(/^draining/);
    expect(pool.lease()).toBeUndefined();
    await turns();
    expect(link.heard).not.toContain("drained");
    finish();
    expect((await answer).body.toString()).toBe("begin end");
    lease.settle("ok");
    await link.saw(/^drained/);
    side.gateway.close();
  });

  test("whose app is unhealthy leaves the rotation and keeps its connection", async () => {
    const side = edgeSide();
    const pool = side.pools.get("web")!;
    const link = dial(side, { token: await tokenFor(side), target: await named("x") });
    await link.saw(/welcome/);
    link.link.send({ type: "health", healthy: false });
    while (pool.available > 0) await turns(1);
    expect(side.gateway.sessions).toBe(1);
    link.link.send({ type: "health", healthy: true });
    while (pool.available === 0) await turns(1);
    side.gateway.close();
  });

  test("whose agent calls it unhealthy is not brought back by the backend's own check, nor the other way", async () => {
    const side = edgeSide();
    const pool = side.pools.get("web")!;
    const link = dial(side, { token: await tokenFor(side), target: await named("x") });
    await link.saw(/welcome/);
    const [member] = pool.members();
    link.link.send({ type: "health", healthy: false });
    while (pool.available > 0) await turns(1);
    pool.mark(member!.id, true);
    expect(member!.state).toBe("unhealthy");
    pool.mark(member!.id, false);
    link.link.send({ type: "health", healthy: true });
    await turns();
    expect(member!.state).toBe("unhealthy");
    pool.mark(member!.id, true);
    expect(member!.state).toBe("available");
    side.gateway.close();
  });

  test("that cannot reach its app fails as never accepted, for any method", async () => {
    const side = edgeSide();
    const gone = await named("x");
    await gone.close();
    const link = dial(side, { token: await tokenFor(side), target: gone });
    await link.saw(/welcome/);
    const failure = await ask(side.pools.get("web")!.members()[0]!, "/", { method: "POST" }).catch(
      (error) => error,
    );
    expect(failure).toMatchObject({ code: "UPSTREAM_CONNECT", retry: "any" } satisfies Partial<EdgeError>);
    side.gateway.close();
  });

  test("reports what other edges have in flight, which the balancer then counts", async () => {
    const side = edgeSide();
    const pool = side.pools.get("web")!;
    const token = await tokenFor(side);
    const app = await named("x");
    const busy = dial(side, { token, target: app });
    const idle = dial(side, { token, target: app, hello: { instance: "instance-2", app: "waldorf" } });
    await Promise.all([busy.saw(/welcome/), idle.saw(/welcome/)]);
    busy.link.send({ type: "inflight", total: 50 });
    await turns();
    for (let i = 0; i < 20; i++) {
      const lease = pool.lease()!;
      expect(lease.server.id).toContain("waldorf");
      lease.settle("ok");
    }
    side.gateway.close();
  });

  test("hears how many requests this edge has in flight there", async () => {
    const clock = manualClock();
    const side = edgeSide({ clock });
    const link = dial(side, { token: await tokenFor(side), target: await named("x"), clock });
    await link.saw(/welcome/);
    const leases = [side.pools.get("web")!.lease()!, side.pools.get("web")!.lease()!];
    clock.advance(250);
    await turns();
    for (const lease of leases) lease.settle("ok");
    clock.advance(250);
    await turns();
    expect(link.inFlight).toEqual([2, 0]);
    side.gateway.close();
  });

  test("hears of other edges as they come and go", async () => {
    const side = edgeSide();
    const link = dial(side, { token: await tokenFor(side), target: await named("x") });
    await link.saw(/welcome/);
    side.edges = [{ id: "b", address: "b.example.com:443" }];
    side.gateway.announce();
    expect(await link.saw(/edges/)).toBe("edges: b.example.com:443");
    side.gateway.close();
  });
});

describe("an edge that stops", () => {
  test("says so, to those who join late too, and finishes what is in flight", async () => {
    const side = edgeSide();
    const token = await tokenFor(side);
    let finish = (): void => {};
    const app = await target((_request, response) => {
      finish = () => response.end("whole");
    });
    open.push(app);
    const link = dial(side, { token, target: app });
    await link.saw(/welcome/);
    const answer = ask(side.pools.get("web")!.members()[0]!);
    while (String(finish) === "() => {}") await turns(1);
    side.gateway.drain();
    await link.saw(/leaving/);
    const late = dial(side, { token, target: app, hello: { slot: 1 } });
    await late.saw(/leaving/);
    finish();
    expect((await answer).body.toString()).toBe("whole");
    side.gateway.close();
    await link.saw(/^close/);
  });
});

describe("bytes through a tunnel", () => {
  test("32 MiB arrive whole", async () => {
    const side = edgeSide();
    const bytes = randomBytes(32 * 1024 * 1024);
    const app = await target((_request, response) => response.end(bytes));
    open.push(app);
    const link = dial(side, { token: await tokenFor(side), target: app });
    await link.saw(/welcome/);
    const { body } = await ask(side.pools.get("web")!.members()[0]!);
    expect(body.equals(bytes)).toBe(true);
    side.gateway.close();
  });

  test("a body that is cut short is never taken for a whole one", async () => {
    const side = edgeSide();
    const server = createServer((socket: Socket) => {
      socket.once("data", () => {
        socket.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhalf of it", () =>
          socket.resetAndDestroy(),
        );
      });
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const link = dial(side, {
      token: await tokenFor(side),
      target: { host: "127.0.0.1", port: (server.address() as AddressInfo).port },
    });
    await link.saw(/welcome/);
    await expect(ask(side.pools.get("web")!.members()[0]!)).rejects.toMatchObject({ source: "upstream" });
    side.gateway.close();
    server.close();
  });

  test("a body is cut short when its tunnel is", async () => {
    const side = edgeSide();
    const app = await target((_request, response) => void response.write("half of it"));
    open.push(app);
    const link = dial(side, { token: await tokenFor(side), target: app });
    await link.saw(/welcome/);
    const answer = ask(side.pools.get("web")!.members()[0]!);
    while (link.link.streams === 0) await turns(1);
    await turns();
    link.edgeEnd.destroy();
    await expect(answer).rejects.toMatchObject({ source: "upstream" });
  });

  test("a stuck stream does not hold the others", async () => {
    const side = edgeSide();
    const app = await target((request, response) => {
      if (request.url === "/flood") {
        const pump = (): void => {
          while (response.write(Buffer.alloc(65_536)));
        };
        response.on("drain", pump);
        pump();
      } else response.end("quick");
    });
    open.push(app);
    const link = dial(side, { token: await tokenFor(side), target: app });
    await link.saw(/welcome/);
    const [member] = side.pools.get("web")!.members();
    for (let i = 0; i < 3; i++)
      member!.transport.dispatch(
        {
          method: "GET",
          path: "/flood",
          scheme: "http",
          authority: "a",
          headers: [],
          body: undefined,
          protocol: undefined,
        },
        // Takes the first chunk, and never asks for more.
        {
          inform() {},
          upgraded() {},
          failed() {},
          respond: (_head, body) => body?.start({ write: () => false, end() {}, abort() {} }),
        },
      );
    await turns(200);
    for (let i = 0; i < 10; i++) expect((await ask(member!)).body.toString()).toBe("quick");
    side.gateway.close();
  });
});

describe("who may join", () => {
  test("an unknown, a revoked and an expired token are rejected for good", async () => {
    const side = edgeSide();
    const app = await named("x");
    const strange = await tokenFor(edgeSide());
    const revoked = await tokenFor(side);
    await side.tokens.revoke((await side.tokens.list())[0]!.id);
    const expired = await tokenFor(side, "web", -1);
    for (const [token, reason] of [
      [strange, "unknown or was revoked"],
      [revoked, "unknown or was revoked"],
      [expired, "has expired"],
      ["nonsense", "is malformed"],
    ] as const) {
      const link = dial(side, { token, target: app });
      expect(await link.saw(/reject/)).toMatch(new RegExp(`${reason} \\(permanent\\)`));
      await link.saw(/close/);
    }
    expect(side.events).toEqual(["bad_token", "bad_token", "bad_token", "bad_token"]);
    expect(side.pools.get("web")!.members()).toEqual([]);
  });

  test("a token opens its own backend and no other", async () => {
    const side = edgeSide();
    const link = dial(side, { token: await tokenFor(side, "other"), target: await named("x") });
    expect(await link.saw(/reject/)).toBe('reject: this edge has no backend "other"');
  });

  test("revoking cuts what is joined, and takes it out of rotation first", async () => {
    const side = edgeSide();
    const link = dial(side, { token: await tokenFor(side), target: await named("x") });
    await link.saw(/welcome/);
    side.gateway.keepTokens(new Set());
    expect(side.pools.get("web")!.members()).toEqual([]);
    expect(await link.saw(/reject/)).toBe("reject: the token was revoked (permanent)");
    await link.saw(/edge closed/);
    expect(side.gateway.sessions).toBe(0);
  });

  test("one token has a bounded number of connections", async () => {
    const side = edgeSide({ limits: { maxSessionsPerToken: 2 } });
    const token = await tokenFor(side);
    const app = await named("x");
    const [first, second, third] = [0, 1, 2].map((slot) =>
      dial(side, { token, target: app, hello: { slot } }),
    );
    await Promise.all([first!.saw(/welcome/), second!.saw(/welcome/)]);
    expect(await third!.saw(/reject/)).toBe("reject: the token has too many connections");
    side.gateway.close();
  });

  test("so has the crowd that has not said who it is", () => {
    const side = edgeSide({ limits: { maxUnknown: 3 } });
    let closed = 0;
    for (let i = 0; i < 5; i++) side.gateway.accept(wires()[1], "127.0.0.1", () => closed++);
    expect([closed, side.gateway.sessions]).toEqual([2, 3]);
    side.gateway.close();
  });
});

/** An agent that says what it likes on the control stream. */
function rawAgent(side: ReturnType<typeof edgeSide>, say: (control: ByteStream) => void): Promise<void> {
  const [agentEnd, edgeEnd] = wires();
  serveHttp2(agentEnd, {
    connection: { id: 0, remoteAddress: "", remotePort: 0, localPort: 0 },
    scheme: "http",
    limits: TUNNEL_LIMITS,
    clock: systemClock,
    connect: true,
    onExchange(exchange) {
      if (exchange.head.authority === "control") {
        const control = exchange.accept([]);
        control.on("data", () => {});
        control.on("error", () => {});
        say(control);
      } else exchange.respond(responseHead(502));
    },
    onOffence() {},
    onClose() {},
  });
  return new Promise((resolve) => side.gateway.accept(edgeEnd, "127.0.0.1", resolve));
}

describe("a hostile agent", () => {
  test.each([
    ["line_too_long", (control: ByteStream) => void control.write(Buffer.alloc(40_000, 97))],
    ["not_json", (control: ByteStream) => void control.write("GET / HTTP/1.1\r\n\r\n")],
    ["not_json", (control: ByteStream) => void control.write("[]\n")],
    ["bad_hello", (control: ByteStream) => void control.write('{"type":"draining"}\n')],
    ["bad_hello", (control: ByteStream) => void control.write('{"type":"hello","proto":1,"token":7}\n')],
    [
      "bad_hello",
      (control: ByteStream) =>
        void control.write('{"type":"hello","proto":1,"token":"x","instance":"../../x"}\n'),
    ],
  ])("that says what no agent says is cut off: %s", async (event, say) => {
    const side = edgeSide();
    await rawAgent(side, say);
    expect(side.events).toEqual([event]);
    expect(side.gateway.sessions).toBe(0);
  });

  test("that floods the control stream is cut off, and others stay", async () => {
    const side = edgeSide();
    const token = await tokenFor(side);
    const good = dial(side, { token, target: await named("good") });
    await good.saw(/welcome/);
    await rawAgent(side, (control) => {
      control.write(`${JSON.stringify(helloOf(token, { instance: "instance-2" }))}\n`);
      for (let i = 0; i < 500; i++) control.write('{"type":"ping"}\n');
    });
    expect(side.events).toContain("too_many_lines");
    expect((await ask(side.pools.get("web")!.members()[0]!)).body.toString()).toBe("good");
    side.gateway.close();
  });

  test("that sends garbage instead of HTTP/2 is cut off", async () => {
    const side = edgeSide();
    const [agentEnd, edgeEnd] = wires();
    agentEnd.on("error", () => {});
    agentEnd.resume();
    const closed = new Promise<void>((resolve) => side.gateway.accept(edgeEnd, "127.0.0.1", resolve));
    agentEnd.end(randomBytes(4096));
    await closed;
    expect(side.gateway.sessions).toBe(0);
  });

  test("that never says hello is let go", async () => {
    const clock = manualClock();
    const side = edgeSide({ clock });
    const [agentEnd, edgeEnd] = wires();
    agentEnd.on("error", () => {});
    agentEnd.resume();
    const closed = new Promise<void>((resolve) => side.gateway.accept(edgeEnd, "127.0.0.1", resolve));
    clock.advance(10_000);
    await closed;
    expect(side.events).toEqual(["hello_timeout"]);
  });
});

describe("silence", () => {
  test("of the agent is noticed by the edge within ten seconds, and a bit for coarse timers", async () => {
    const clock = manualClock();
    const side = edgeSide({ clock });
    const link = dial(side, { token: await tokenFor(side), target: await named("x"), clock });
    await link.saw(/welcome/);
    link.agentEnd.removeAllListeners("data");
    link.agentEnd.pause();
    for (let i = 0; i < 12; i++) {
      clock.advance(1000);
      await turns(3);
    }
    expect(side.pools.get("web")!.members()).toEqual([]);
  });

  /** A wormhole whose app never answers, in whose pool there is another server, with time that stands still. */
  async function frozen(onRequest: () => void = () => {}) {
    const clock = manualClock();
    const side = edgeSide({ clock });
    const pool = side.pools.get("web")!;
    const app = await target(onRequest);
    open.push(app);
    const link = dial(side, { token: await tokenFor(side), target: app, clock });
    await link.saw(/welcome/);
    const [member] = pool.members();
    pool.add({ id: "other", transport: member!.transport });
    const pass = async (ms: number): Promise<void> => {
      for (let passed = 0; passed < ms; passed += 250) {
        clock.advance(250);
        await turns(3);
      }
    };
    // As a stopped process: what is sent to it stays where it is.
    let listeners: ((chunk: Buffer) => void)[] = [];
    const freeze = (): void => {
      listeners = link.agentEnd.listeners("data") as typeof listeners;
      link.agentEnd.removeAllListeners("data");
      link.agentEnd.pause();
      link.agentEnd.cork();
    };
    const thaw = (): void => {
      for (const listener of listeners) link.agentEnd.on("data", listener);
      link.agentEnd.resume();
      link.agentEnd.uncork();
    };
    return { side, pool, link, member: member!, pass, freeze, thaw };
  }

  test("of a busy agent takes it out of rotation within three seconds, and a byte brings it back", async () => {
    const { side, pool, member, pass, freeze, thaw } = await frozen();
    const leases = [pool.lease()!, pool.lease()!];
    while (member.inFlight === 0) leases.push(pool.lease()!);
    await pass(3000);
    expect(member.state).toBe("available");
    freeze();
    await pass(3000);
    expect([member.state, side.gateway.wormholes()[0]!.state]).toEqual(["unhealthy", "silent"]);
    expect(pool.lease()!.server.id).toBe("other");
    thaw();
    await turns();
    expect([member.state, side.gateway.wormholes()[0]!.state]).toEqual(["available", "available"]);
    expect(side.events).toEqual(["joined", "silent"]);
    side.gateway.close();
  });

  test("gives up after five seconds what may be repeated, and only that, where another server is well", async () => {
    let asked = 0;
    const { side, pool, member, pass, freeze } = await frozen(() => asked++);
    const ends: string[] = [];
    while (member.inFlight === 0) pool.lease();
    for (const method of ["GET", "POST"])
      ask(member, "/", { method }).catch((error: EdgeError) => ends.push(`${method} ${error.retry}`));
    while (asked < 2) await turns(1);
    freeze();
    pool.mark("other", false);
    await pass(5500);
    expect(ends).toEqual([]);
    pool.mark("other", true);
    await pass(500);
    expect(ends).toEqual(["GET idempotent"]);
    await pass(6000);
    expect(ends).toEqual(["GET idempotent", "POST idempotent"]);
    expect(pool.members().length).toBe(1);
    side.gateway.close();
  });

  test("of the edge is noticed by the agent", async () => {
    const clock = manualClock();
    // The edge's own clock stands still, or it would be the first to notice.
    const side = edgeSide({ clock: manualClock() });
    const link = dial(side, { token: await tokenFor(side), target: await named("x"), clock });
    await link.saw(/welcome/);
    link.edgeEnd.removeAllListeners("data");
    link.edgeEnd.pause();
    for (let i = 0; i < 12; i++) {
      clock.advance(1000);
      await turns(3);
    }
    expect(await link.saw(/^close/)).toBe("close: the edge is silent");
  });

  test("is none while pings are answered", async () => {
    const clock = manualClock();
    const side = edgeSide({ clock });
    const link = dial(side, { token: await tokenFor(side), target: await named("x"), clock });
    await link.saw(/welcome/);
    for (let i = 0; i < 120; i++) {
      clock.advance(1000);
      await turns(3);
    }
    expect(link.heard.filter((each) => each.startsWith("close"))).toEqual([]);
    expect(side.pools.get("web")!.members().length).toBe(1);
    side.gateway.close();
  });
});

describe("a hostile edge", () => {
  test("gets no connection to anything but the agent's target, and none before it has welcomed", async () => {
    const side = edgeSide();
    const { openLink } = await import("../../src/tunnel/link.ts");
    const { createHttp2Client } = await import("../../src/http2/client.ts");
    const app = await named("the target");
    const other = await named("not the target");
    const [agentEnd, edgeEnd] = wires();
    const reads = (stream: ByteStream): Promise<string> =>
      new Promise((resolve) => {
        stream.on("data", (chunk) => resolve(chunk.toString("latin1")));
        stream.on("error", (error) => resolve(`error: ${error.message}`));
        stream.write("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "latin1");
      });
    let welcomed = (): void => {};
    const ready = new Promise<void>((resolve) => {
      welcomed = resolve;
    });
    openLink(agentEnd, {
      clock: systemClock,
      random: () => 0.5,
      target: app,
      hello: () => helloOf("secret"),
      onWelcome: () => welcomed(),
      onReject() {},
      onEdges() {},
      onDraining() {},
      onDrained() {},
      onLeaving() {},
      onInFlight() {},
      onClose() {},
    });
    const client = createHttp2Client(edgeEnd, { scheme: "http", clock: systemClock, onClose() {} });
    const control = client.connect([":authority", "control"]);
    control.on("data", () => {});
    const authority = `127.0.0.1:${other.port}`;
    expect(await reads(client.connect([":authority", authority]))).toBe(
      "error: CONNECT was answered with 403",
    );
    control.write(
      `${JSON.stringify({ type: "welcome", proto: 1, edgeId: "e", edges: [], pingMs: 5000, server: "s" })}\n`,
    );
    await ready;
    expect(await reads(client.connect([":authority", authority]))).toMatch(/the target$/);
    expect(await reads(client.connect([":authority", "control"]))).toBe(
      "error: CONNECT was answered with 409",
    );
    client.destroy();
    side.gateway.close();
  });
});
