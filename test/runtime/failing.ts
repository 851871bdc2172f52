/** Servers that die and that stand still, under load, on every runtime: no request fails, and they are back soon. */
import { once } from "node:events";
import { createServer } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { configFile, type EdgeProcess, type Runtime, startEdge } from "../support/edge.ts";
import { type NginxBackend, startNginx } from "../support/nginx.ts";
import { eventually } from "../support/processes.ts";
import { startLoad } from "./client.ts";
import { ownCertificate } from "./own-certificate.ts";

const HOST = "failing.example.test";
/** From a server's return to its first answer; the edge says about a second. */
const BACK_WITHIN_MS = 4000;

export function failingTests(runtime: Runtime): void {
  describe(`${runtime}: servers that fail`, () => {
    let servers: [NginxBackend, NginxBackend];
    let own: Awaited<ReturnType<typeof ownCertificate>>;
    let edge: EdgeProcess;

    beforeAll(async () => {
      servers = [await startNginx("statler"), await startNginx("waldorf")];
      own = await ownCertificate([HOST]);
    }, 60_000);
    afterAll(async () => {
      servers?.[1].process.signal("SIGCONT");
      await Promise.all((servers ?? []).map((server) => server.stop()));
    });
    // One each: a server that was ejected a minute ago is let back in more slowly, by design.
    beforeEach(async () => {
      const config = configFile({
        listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
        storage: "file:./certs",
        backends: { web: { servers: servers.map(({ url }) => url), hedge: { afterMs: 100 } } },
        hosts: { [HOST]: { backend: "web", tls: own.tls } },
      });
      edge = await startEdge(runtime, config);
    }, 60_000);
    afterEach(async () => {
      await edge?.stop();
    });

    /** Makes the second server ill under load and well again; resolves with how long its return took. */
    const returns = async (ill: () => Promise<void>, well: () => Promise<void>): Promise<number> => {
      const before = edge.logs("server.ejected").length;
      const load = startLoad({ port: edge.https.port, host: HOST, ca: own.root }, 8);
      const answers = (): number => load.tally.servers.get("waldorf") ?? 0;
      await eventually("answers of both", () => load.tally.done >= 200 && answers() > 20);
      await ill();
      await eventually("the ejection", () => edge.logs("server.ejected").length > before);
      const then = load.tally.done;
      await eventually("500 more answers", () => load.tally.done >= then + 500);
      const known = answers();
      await well();
      const began = performance.now();
      await eventually("answers of the server that came back", () => answers() > known + 5, 20_000);
      const took = performance.now() - began;
      expect((await load.stop()).failures).toEqual([]);
      return took;
    };

    test("one that is stopped under load costs no request, and serves again when it goes on", async () => {
      const { process } = servers[1];
      const took = await returns(
        async () => process.signal("SIGSTOP"),
        async () => process.signal("SIGCONT"),
      );
      expect(took).toBeLessThan(BACK_WITHIN_MS);
    }, 60_000);

    test("one that is killed under load costs no request, and serves again when it is back", async () => {
      const took = await returns(
        async () => {
          servers[1].process.signal("SIGKILL");
          await servers[1].process.ended;
        },
        () => servers[1].restart(),
      );
      expect(took).toBeLessThan(BACK_WITHIN_MS);
    }, 60_000);

    test("one that is killed while others accept in its place, and say nothing, costs no request either", async () => {
      // As a listener whose process is gone or wedged: the kernel shakes hands, and nobody reads.
      const silent = createServer((socket) => socket.on("error", () => {}));
      const took = await returns(
        async () => {
          servers[1].process.signal("SIGKILL");
          await servers[1].process.ended;
          silent.listen(servers[1].port, "127.0.0.1");
          await once(silent, "listening");
        },
        async () => {
          silent.close();
          silent.unref();
          await servers[1].restart();
        },
      );
      expect(took).toBeLessThan(BACK_WITHIN_MS);
    }, 60_000);
  });
}
