import { afterEach, describe, expect, test } from "vitest";
import type { ByteSink } from "../../src/exchange/body.ts";
import type { Exchange } from "../../src/exchange/exchange.ts";
import { responseHead } from "../../src/exchange/exchange.ts";
import type { Offence } from "../../src/exchange/limits.ts";
import { ENHANCE_YOUR_CALM, NO_ERROR, SETTINGS_TIMEOUT } from "../../src/http2/errors.ts";
import {
  CONTINUATION,
  DATA,
  encodeFrame,
  type Frame,
  HEADERS,
  PING,
  PREFACE,
  PRIORITY,
  RST_STREAM,
  SETTINGS,
  settingsPayload,
  WINDOW_UPDATE,
} from "../../src/http2/frames.ts";
import type { ServeHttp2Options } from "../../src/http2/server.ts";
import {
  block,
  echo,
  fields,
  limits,
  manualClock,
  RawClient,
  type Served,
  serve,
  uint32,
} from "./support.ts";

const WHOLE = 0x5;
const OPEN = 0x4;
const POST = fields({ ":method": "POST" });

let open: { served: Served; client: RawClient }[] = [];
afterEach(async () => {
  for (const { served, client } of open) {
    client.socket.destroy();
    await served.close();
  }
  open = [];
});

async function start(options: Partial<ServeHttp2Options> = {}, onExchange: (x: Exchange) => void = echo) {
  const clock = manualClock();
  const served = await serve(onExchange, { clock, ...options });
  const client = new RawClient(served.port);
  open.push({ served, client });
  await client.handshake();
  return { served, client, clock };
}

const repeat = (count: number, frame: (i: number) => Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => frame(i)));

const open1 = encodeFrame(HEADERS, OPEN, 1, block(POST));
const settings = encodeFrame(SETTINGS, 0, 0, settingsPayload([[0x99, 1]]));

const FLOODS: readonly [offence: Offence, fact: string, allowed: number, flood: (count: number) => Buffer][] =
  [
    [
      "h2_resets",
      "streams opened and reset at once (CVE-2023-44487)",
      200,
      (n) =>
        repeat(n, (i) =>
          Buffer.concat([
            encodeFrame(HEADERS, OPEN, 1 + 2 * i, block(POST)),
            encodeFrame(RST_STREAM, 0, 1 + 2 * i, uint32(8)),
          ]),
        ),
    ],
    [
      "h2_resets",
      "streams that we must reset for being malformed",
      200,
      (n) => repeat(n, (i) => encodeFrame(HEADERS, WHOLE, 1 + 2 * i, block(["x-no", "pseudo"]))),
    ],
    ["h2_pings", "PING", 50, (n) => repeat(n, () => encodeFrame(PING, 0, 0, Buffer.alloc(8)))],
    // The handshake's own SETTINGS and ACK are two of the twenty.
    ["h2_settings", "SETTINGS", 19, (n) => repeat(n, () => settings)],
    [
      "h2_empty_frames",
      "DATA without content",
      202,
      (n) => Buffer.concat([open1, repeat(n, () => encodeFrame(DATA, 0, 1))]),
    ],
    [
      "h2_empty_frames",
      "PRIORITY",
      200,
      (n) => repeat(n, () => encodeFrame(PRIORITY, 0, 1, Buffer.alloc(5))),
    ],
    ["h2_empty_frames", "unknown frames", 200, (n) => repeat(n, () => encodeFrame(0x42, 0, 0))],
    [
      "h2_window_updates",
      "WINDOW_UPDATE",
      2000,
      (n) => repeat(n, () => encodeFrame(WINDOW_UPDATE, 0, 0, uint32(1))),
    ],
  ];

describe("frames that cost us more than the client", () => {
  for (const [offence, fact, allowed, flood] of FLOODS) {
    test(`${fact}: ${allowed} in a second are taken, one more ends the connection`, async () => {
      const good = await start();
      good.client.send(flood(allowed));
      expect(await survived(good.client, offence)).toBe(true);
      expect(good.served.offences.filter((each) => each === offence)).toEqual([]);

      const bad = await start();
      bad.client.send(flood(allowed + 1));
      expect(await bad.client.goaway()).toBe(ENHANCE_YOUR_CALM);
      expect(bad.served.offences).toContain(offence);
    });
  }

  test("the count begins anew each second", async () => {
    const { client, clock } = await start();
    for (let i = 0; i < 3; i++) {
      client.send(repeat(45, () => encodeFrame(PING, 0, 0, Buffer.alloc(8))));
      expect(await client.alive()).toBe(true);
      clock.advance(1001);
    }
  });

  test("CONTINUATION frames of one block", async () => {
    const many = (count: number): Buffer =>
      Buffer.concat([
        encodeFrame(HEADERS, 1, 1, block()),
        repeat(count - 1, (i) => encodeFrame(CONTINUATION, 0, 1, block([`x-${i}`, "y"]))),
        encodeFrame(CONTINUATION, 4, 1, block(["x-last", "y"])),
      ]);
    const good = await start();
    good.client.send(many(16));
    expect(await good.client.next((frame) => frame.type === HEADERS)).toBeDefined();
    const bad = await start();
    bad.client.send(many(17));
    expect(await bad.client.goaway()).toBe(ENHANCE_YOUR_CALM);
    expect(bad.served.offences).toEqual(["h2_continuations"]);
  });
});

/** PING is itself counted, so that flood is checked by a request. */
async function survived(client: RawClient, offence: Offence): Promise<boolean> {
  if (offence !== "h2_pings") return client.alive();
  client.headers(1001, WHOLE);
  return (await client.next((frame) => frame.type === HEADERS && frame.streamId === 1001)) !== undefined;
}

describe("heads", () => {
  const status = async (client: RawClient, id: number): Promise<string | undefined> => {
    const frame = await client.next((each) => each.type === HEADERS && each.streamId === id);
    return frame && client.decode(frame)[":status"];
  };

  test("more bytes than maxHeadBytes are answered with 431, and the next request is served", async () => {
    const { client, served } = await start();
    const large = [...fields(), "x-large", "v".repeat(8000), "x-larger", "v".repeat(8000)];
    client.send(encodeFrame(HEADERS, WHOLE, 1, block(large)));
    client.headers(3, WHOLE, [...large, "x-more", "v".repeat(300)].slice(0, 10));
    client.send(
      encodeFrame(HEADERS, 1, 5, block(large)),
      encodeFrame(CONTINUATION, 4, 5, block(["x-rest", "v".repeat(500)])),
    );
    expect(await status(client, 1)).toBe("200");
    expect(await status(client, 3)).toBe("200");
    expect(await status(client, 5)).toBe("431");
    client.headers(7, WHOLE);
    expect(await status(client, 7)).toBe("200");
    expect(served.offences).toEqual(["head_bytes"]);
  });

  test("a few bytes that unfold to megabytes are answered with 431, and cost no memory", async () => {
    const { client, served } = await start();
    const insert = Buffer.concat([
      block(),
      Buffer.from([0x40, 3]),
      Buffer.from("x-a"),
      Buffer.from([127, 0xa1, 0x1e]),
      Buffer.alloc(127 + 0xf21, "v"),
    ]);
    client.send(encodeFrame(HEADERS, WHOLE, 1, insert));
    client.send(encodeFrame(HEADERS, WHOLE, 3, Buffer.concat([block(), Buffer.alloc(16_000, 0xbe)])));
    expect(await status(client, 1)).toBe("200");
    expect(await status(client, 3)).toBe("431");
    expect(served.offences).toEqual(["head_bytes"]);
  });

  test("more fields than maxHeaders are answered with 431", async () => {
    const { client, served } = await start();
    const many = (count: number): string[] => [
      ...fields(),
      ...Array.from({ length: count }, (_, i) => [`x-${i}`, "v"]).flat(),
    ];
    client.headers(1, WHOLE, many(100));
    client.headers(3, WHOLE, many(101));
    client.headers(5, WHOLE, many(500));
    expect(await status(client, 1)).toBe("200");
    expect(await status(client, 3)).toBe("431");
    expect(await status(client, 5)).toBe("431");
    expect(served.offences).toEqual(["head_count", "head_count"]);
  });

  test("requests on one connection are bounded by a polite end", async () => {
    const { client } = await start({ limits: limits({ maxRequestsPerConnection: 2 }) });
    client.headers(1, WHOLE);
    client.headers(3, WHOLE);
    const ping = (await client.next((frame) => frame.type === PING)) as Frame;
    client.send(encodeFrame(PING, 1, 0, ping.payload));
    await client.ended();
    expect(client.frames.filter((frame) => frame.type === HEADERS).length).toBe(2);
  });

  test("a smaller table is enforced once it was acknowledged", async () => {
    const { client } = await start({ limits: limits({}, { headerTableBytes: 1024 }) });
    client.send(encodeFrame(HEADERS, WHOLE, 1, block()));
    expect(await client.goaway()).toBe(9);
  });
});

describe("time", () => {
  test("a connection that says nothing is closed after headTimeoutMs", async () => {
    const clock = manualClock();
    const served = await serve(echo, { clock });
    const client = new RawClient(served.port);
    open.push({ served, client });
    client.send(PREFACE);
    await client.next();
    clock.advance(12_000);
    await client.ended();
    expect(served.offences).toEqual(["head_timeout"]);
  });

  test("a header block that never ends is closed after headTimeoutMs", async () => {
    const { client, clock, served } = await start();
    client.send(encodeFrame(PING, 0, 0, Buffer.alloc(8)), encodeFrame(HEADERS, 1, 1, block()));
    await client.next((frame) => frame.type === PING);
    clock.advance(12_000);
    expect(await client.goaway()).toBe(ENHANCE_YOUR_CALM);
    expect(served.offences).toEqual(["head_timeout"]);
  });

  test("a client that never acknowledges SETTINGS is let go (RFC 9113 §6.5.3)", async () => {
    const clock = manualClock();
    const served = await serve(() => {}, { clock });
    const client = new RawClient(served.port);
    open.push({ served, client });
    client.send(PREFACE, encodeFrame(SETTINGS, 0, 0), open1);
    expect(await client.alive()).toBe(true);
    clock.advance(60_000);
    expect(await client.alive()).toBe(true);
    clock.advance(10_000);
    expect(await client.goaway()).toBe(SETTINGS_TIMEOUT);
    expect(served.offences).toEqual(["idle_timeout"]);
  });

  test("an idle connection ends politely after idleTimeoutMs, a busy one does not", async () => {
    const { client, clock, served } = await start({}, (x) => {
      answer = () => x.respond(responseHead(200));
    });
    let answer = (): void => {};
    client.headers(1, WHOLE);
    await client.alive();
    clock.advance(200_000);
    expect(await client.alive()).toBe(true);
    answer();
    await client.next((frame) => frame.type === HEADERS);
    clock.advance(67_000);
    expect(await client.goaway()).toBe(NO_ERROR);
    expect(served.offences).toEqual(["idle_timeout"]);
  });

  test("a request body slower than minBodyBytesPerSecond gets 408", async () => {
    const { client, clock, served } = await start({}, (x) =>
      x.body?.start({ write: () => true, end() {}, abort() {} }),
    );
    client.headers(1, OPEN, POST);
    client.send(encodeFrame(DATA, 0, 1, Buffer.from("slow")));
    await client.alive();
    clock.advance(12_000);
    const frame = (await client.next((each) => each.type === HEADERS))!;
    expect(client.decode(frame)[":status"]).toBe("408");
    expect(await client.reset(1)).toBe(NO_ERROR);
    expect(served.offences).toEqual(["body_rate"]);
  });

  test("a request body that its reader holds up is not the client's fault", async () => {
    const { client, clock, served } = await start({}, (x) =>
      x.body?.start({ write: () => false, end() {}, abort() {} }),
    );
    client.headers(1, OPEN, POST);
    client.send(encodeFrame(DATA, 0, 1, Buffer.from("slow")));
    await client.alive();
    clock.advance(60_000);
    expect(await client.alive()).toBe(true);
    expect(served.offences).toEqual([]);
  });

  test("a client that opens no window for writeTimeoutMs has its stream reset", async () => {
    const { client, clock, served } = await start({}, (x) =>
      x.respond(responseHead(200), Buffer.alloc(100_000)),
    );
    client.headers(1, WHOLE);
    await client.alive();
    clock.advance(62_000);
    expect(await client.reset(1)).toBe(8);
    expect(served.offences).toEqual(["write_timeout"]);
    expect(await client.alive()).toBe(true);
  });

  test("a client that takes no byte for writeTimeoutMs is cut off, and little is held for it", async () => {
    let exchange: Exchange | undefined;
    let written = 0;
    const { client, clock, served } = await start({}, (x) => {
      exchange = x;
      let sink: ByteSink | undefined;
      const fill = (): void => {
        do written += 65_536;
        while (sink?.write(Buffer.alloc(65_536)));
      };
      x.respond(responseHead(200), {
        length: undefined,
        started: false,
        start(to) {
          sink = to;
          fill();
        },
        resume: fill,
        cancel() {},
      });
    });
    client.socket.pause();
    client.send(
      encodeFrame(WINDOW_UPDATE, 0, 0, uint32(0x7f000000)),
      encodeFrame(SETTINGS, 0, 0, settingsPayload([[4, 0x7fffffff]])),
    );
    client.headers(1, WHOLE);
    const closed = new Promise<void>((resolve) => {
      const look = (): void => {
        if (exchange === undefined) setImmediate(look);
        else exchange.onClose(() => resolve());
      };
      look();
    });
    let before = -1;
    while (before !== written || written === 0) {
      before = written;
      for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
    }
    // What the kernel's buffers take on loopback is not ours; what we hold is the rest.
    const held = written - exchange!.bytesSent;
    expect(held).toBeLessThan(200_000);
    clock.advance(62_000);
    await closed;
    expect(served.offences).toContain("write_timeout");
  });
});
