/**
 * Load that is killed in the middle, again and again. SKERRY_ROUNDS sets how often (50 for a thorough look):
 *
 *   SKERRY_ROUNDS=50 npx vitest run test/e2e/vanish.test.ts
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Site, startSite } from "../interop/site.ts";
import { connect2, visit, visit2 } from "../runtime/client.ts";
import { eventually, start } from "../support/processes.ts";
import { edgeFor, metric, quiet, RUNTIMES, surprises, type TestEdge } from "./edges.ts";

const ROUNDS = Number(process.env.SKERRY_ROUNDS ?? 12);
/** Rounds after which a runtime has the heap that it likes to keep. */
const WARM = Math.min(10, Math.ceil(ROUNDS * 0.8));
const MEMORY_BOUND = 48 * 1024 * 1024;

let site: Site;
beforeAll(async () => {
  site = await startSite();
});
afterAll(() => site?.close());

describe.each(RUNTIMES)("an edge on %s", (runtime) => {
  let edge: TestEdge;
  beforeAll(async () => {
    edge = await edgeFor(runtime, { localhost: [site.url] });
  });
  afterAll(async () => {
    await edge?.stop();
  });

  const settled = async (): Promise<void> => {
    await quiet(edge);
    await eventually("no connection is left", async () => (await metric(edge, "skerry_connections")) === 0);
  };

  test.each([
    ["HTTP/2", []],
    ["HTTP/1.1", ["--h1"]],
  ])(
    `outlives ${ROUNDS} rounds of %s clients that are killed under load, and its memory comes back`,
    async (_name, flags) => {
      const url = `https://localhost:${edge.https.port}`;
      let warm = 0;
      for (let round = 1; round <= ROUNDS; round++) {
        const before = await metric(edge, "skerry_requests_total");
        // Alternately many short answers and long ones that are never read to their end.
        const args = round % 2 ? ["-c16", "-m32", `${url}/part/3`] : ["-c8", "-m8", "-w14", `${url}/large`];
        const load = start("h2load", [...flags, "-n10000000", ...args]);
        await eventually("load", async () => {
          const busy = (await metric(edge, "skerry_requests_in_flight")) > 0;
          return busy && (round % 2 === 0 || (await metric(edge, "skerry_requests_total")) > before + 200);
        });
        await load.stop("SIGKILL");
        await settled();
        if (round === WARM) warm = edge.process.rss();
      }
      const to = { port: edge.https.port, host: "localhost", ca: edge.ca, path: "/still" };
      expect((await visit(to)).body).toBe("GET /still");
      const session = await connect2(to);
      expect((await visit2(session, to)).body).toBe("GET /still");
      session.close();
      await eventually("memory comes back", () => edge.process.rss() < warm + MEMORY_BOUND);
      if (process.env.SKERRY_ROUNDS)
        console.log(
          `${runtime} ${_name}: ${warm >> 20} MiB after ${WARM} rounds, ${edge.process.rss() >> 20} after ${ROUNDS}`,
        );
      expect(surprises(edge)).toEqual([]);
    },
    ROUNDS * 10_000,
  );
});
