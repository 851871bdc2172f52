/** `skerry fleet restore` whose connection to NATS is lost before it asks how many servers there are. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, constants, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";
import { restoreFleet } from "../../src/storage/nats-admin.ts";
import { startNats } from "../support/nats.ts";
import { eventually } from "../support/processes.ts";

test("makes no bucket, since it cannot know that the server is alone", async () => {
  const nats = await startNats();
  const folder = await mkdtemp(join(tmpdir(), "skerry-nats-restore-"));
  const keys = [randomBytes(32)];
  const parts = { keys, clock: systemClock, log: silentLog };
  const mark = "=fleet~";
  // The first connection comes to be and is cut when the test says so; no other does.
  const sockets: Socket[] = [];
  let dials = 0;
  let open = true;
  const way = createServer((client) => {
    dials++;
    client.on("error", () => {});
    if (!open) return client.destroy();
    const server = connect(Number(nats.servers[0]!.split(":")[1]), "127.0.0.1");
    server.on("error", () => {});
    sockets.push(client, server);
    client.pipe(server);
    server.pipe(client);
  });
  way.listen(0, "127.0.0.1");
  await once(way, "listening");
  const first = openNatsStorage({
    ...parts,
    place: { servers: [nats.servers[0]!], bucket: "skerry" },
    copy: join(folder, "first"),
  });
  try {
    await first.check();
    await eventually("the mark's copy", () => readFileSync(join(folder, "first", mark)).length > 0);
    // A pipe in its place: what asks for the fleet waits there until the test has cut the connection.
    const copy = join(folder, "second");
    mkdirSync(copy);
    execFileSync("mkfifo", [join(copy, mark)]);
    const server = `127.0.0.1:${(way.address() as AddressInfo).port}`;
    const restored = restoreFleet({ ...parts, copy, place: { servers: [server], bucket: "lost" } }).then(
      () => "restored",
      (thrown: Error) => thrown.message,
    );
    // Who reads it is connected; before, a pipe without a reader cannot be opened so.
    const pipe = await eventually("that it asks for the fleet", () =>
      openSync(join(copy, mark), constants.O_WRONLY | constants.O_NONBLOCK),
    );
    open = false;
    for (const socket of sockets) socket.destroy();
    await eventually("that it dials again", () => dials > 1);
    writeSync(pipe, readFileSync(join(folder, "first", mark)));
    closeSync(pipe);
    expect(await restored).toMatch(/the bucket lost: nats:\S+ is away \(the connection was lost\)/);
  } finally {
    await first.close();
    for (const socket of sockets) socket.destroy();
    way.close();
    await nats.close();
    await rm(folder, { recursive: true, force: true });
  }
});
