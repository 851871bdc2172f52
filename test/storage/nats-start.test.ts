/** An edge that starts in the moment in which NATS goes away. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";
import { startNats } from "../support/nats.ts";
import { eventually } from "../support/processes.ts";

test("an edge that has read everything starts, though NATS is gone before it could write", async () => {
  const nats = await startNats();
  const folder = await mkdtemp(join(tmpdir(), "skerry-nats-start-"));
  const key = randomBytes(32);
  const open = (server: string, copy: string) =>
    openNatsStorage({
      place: { servers: [server], bucket: "skerry" },
      keys: [key],
      copy: join(folder, copy),
      clock: systemClock,
      log: silentLog,
    });
  // Takes everything but writes: the first one ends all connections, and there are no more.
  const sockets = new Set<Socket>();
  let cut = false;
  const way = createServer((client) => {
    const server = connect(Number(nats.servers[0]!.split(":")[1]), "127.0.0.1");
    for (const socket of [client, server]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        for (const each of [client, server]) each.destroy();
      });
    }
    client.on("data", (chunk: Buffer) => {
      if (/^H?PUB \$KV\./m.test(chunk.toString("latin1"))) cut = true;
      if (!cut) server.write(chunk);
      else for (const each of sockets) each.destroy();
    });
    server.pipe(client);
  });
  way.listen(0, "127.0.0.1");
  await once(way, "listening");
  const first = open(nats.servers[0]!, "first");
  const second = open(`127.0.0.1:${(way.address() as AddressInfo).port}`, "second");
  try {
    await first.store("certificates/a", new TextEncoder().encode("value"));
    await second.check();
    expect(cut).toBe(true);
    expect(second.away()).toBeDefined();
    expect(new TextDecoder().decode(await second.load("certificates/a"))).toBe("value");
  } finally {
    await first.close();
    await second.close();
    way.close();
    await nats.close();
    await rm(folder, { recursive: true, force: true });
  }
});

test("an edge that was refused, after it had started without NATS, is let in when that is mended", async () => {
  const nats = await startNats();
  const folder = await mkdtemp(join(tmpdir(), "skerry-nats-refused-"));
  const port = Number(nats.servers[0]!.split(":")[1]);
  const sockets = new Set<Socket>();
  let there: "nobody" | "refusing" | "nats" = "nobody";
  const way = createServer((client) => {
    sockets.add(client);
    client.on("error", () => {});
    if (there === "nobody") return client.destroy();
    if (there === "refusing") {
      client.write(`INFO ${JSON.stringify({ server_id: "x", version: "2.9.0", max_payload: 1 << 20 })}\r\n`);
      client.once("data", () => client.end("-ERR 'Authorization Violation'\r\n"));
      return;
    }
    const server = connect(port, "127.0.0.1");
    sockets.add(server);
    server.on("error", () => {});
    client.pipe(server).pipe(client);
  });
  way.listen(0, "127.0.0.1");
  await once(way, "listening");
  const refusals: unknown[] = [];
  const open = (server: string) =>
    openNatsStorage({
      place: { servers: [server], bucket: "skerry" },
      keys: [Buffer.alloc(32, 1)],
      copy: join(folder, "copy"),
      clock: systemClock,
      log: { ...silentLog, error: (event, fields) => void refusals.push([event, fields?.message]) },
    });
  const before = open(nats.servers[0]!);
  await before.store("certificates/a", new TextEncoder().encode("value"));
  await eventually("the mark's copy", () => existsSync(join(folder, "copy", "=fleet~")));
  await before.close();
  const storage = open(`127.0.0.1:${(way.address() as AddressInfo).port}`);
  try {
    await storage.check();
    expect(storage.away()).toBeDefined();
    there = "refusing";
    await eventually("the refusal", () => refusals.length > 0);
    expect(refusals).toEqual([
      ["storage.refused", expect.stringContaining("refuses these credentials: check storage.nats")],
    ]);
    there = "nats";
    await eventually("that it is back", () => storage.away() === undefined);
    expect(refusals).toHaveLength(1);
  } finally {
    await storage.close();
    for (const socket of sockets) socket.destroy();
    way.close();
    await nats.close();
    await rm(folder, { recursive: true, force: true });
  }
});
