import { afterEach, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { probeByDispatch } from "../../src/proxy/probe.ts";
import { manualClock } from "../upstream/support.ts";
import { deadPort, startBackend, startProxy, stopAll, until } from "./support.ts";

afterEach(stopAll);

test.each([
  [200, true],
  [204, true],
  [302, true],
  [404, false],
  [500, false],
])("a server that answers %i is well: %s", async (status, well) => {
  const seen: string[] = [];
  const backend = await startBackend((request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.host} ${request.headers["user-agent"]}`);
    response.writeHead(status).end();
  });
  const { pool } = await startProxy([backend.port]);
  expect(await probeByDispatch(systemClock)(pool.members()[0]!, "/healthz", 5000)).toBe(well);
  expect(seen).toEqual([`GET /healthz 127.0.0.1:${backend.port} skerry-health`]);
});

test("a server that is not there is not well", async () => {
  const { pool } = await startProxy([await deadPort()]);
  expect(await probeByDispatch(systemClock)(pool.members()[0]!, "/", 5000)).toBe(false);
});

test("a server that does not answer in time is not well, and its work is cancelled", async () => {
  let gone = false;
  const backend = await startBackend((_, response) => {
    response.on("close", () => {
      gone = true;
    });
  });
  const { pool } = await startProxy([backend.port]);
  const clock = manualClock();
  const answer = probeByDispatch(clock)(pool.members()[0]!, "/", 200);
  await until(() => backend.count === 1);
  clock.advance(200);
  expect(await answer).toBe(false);
  await until(() => gone);
});

test("an endless answer is judged by its head and not read on", async () => {
  let gone = false;
  const backend = await startBackend((_, response) => {
    response.on("close", () => {
      gone = true;
    });
    const pump = (): void => {
      while (!response.destroyed && response.write(Buffer.alloc(16_384)));
    };
    response.on("drain", pump);
    pump();
  });
  const { pool } = await startProxy([backend.port]);
  expect(await probeByDispatch(systemClock)(pool.members()[0]!, "/", 5000)).toBe(true);
  await until(() => gone);
});
