/** What an operator meets: the admin port, the log, a polite end, and errors that say what to do. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { configFile, type EdgeProcess, type Runtime, skerry, startEdge } from "../support/edge.ts";
import { type Ended, eventually } from "../support/processes.ts";
import { connect2, startLoad, visit, visit2, visitPlain } from "./client.ts";
import { type Origin, startOrigin } from "./origin.ts";
import { ownCertificate } from "./own-certificate.ts";

const HOST = "app.example.test";

/** Fields that differ from the usual. */
interface Setup {
  listen?: Record<string, string>;
  [field: string]: unknown;
}

export function operationTests(runtime: Runtime): void {
  describe(`${runtime}: operation`, () => {
    let origin: Origin;
    let tls: { readonly cert: string; readonly key: string };
    let ca: string;

    beforeAll(async () => {
      origin = await startOrigin("origin");
      const own = await ownCertificate([HOST]);
      ca = own.root;
      tls = own.tls;
    });
    afterAll(() => origin?.close());

    const config = ({ listen, ...more }: Setup = {}): string =>
      configFile({
        listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0", ...listen },
        storage: "file:./certs",
        backends: { web: { servers: [origin.url] } },
        hosts: { [HOST]: { backend: "web", tls } },
        ...more,
      });
    const admin = (edge: EdgeProcess, path: string) =>
      visitPlain({ port: edge.admin.port, host: "127.0.0.1", path });

    test("the admin port tells of life, readiness and metrics", async () => {
      const edge = await startEdge(runtime, config());
      expect((await admin(edge, "/livez")).status).toBe(200);
      expect((await admin(edge, "/readyz")).status).toBe(200);
      await visit({ port: edge.https.port, host: HOST, ca });
      const metrics = await admin(edge, "/metrics");
      expect(metrics.headers["content-type"]).toMatch(/^text\/plain/);
      expect(metrics.body).toMatch(/^skerry_requests_total\{[^}]*\} 1$/m);
      await edge.stop();
    });

    test("every request leaves one JSON line in the log", async () => {
      const edge = await startEdge(runtime, config());
      for (const path of ["/one", "/two", "/three"])
        await visit({ port: edge.https.port, host: HOST, ca, path });
      await edge.stop();
      const lines = edge.logs().filter((line) => /^\/(one|two|three)$/.test(String(line.path)));
      expect(lines.map((line) => line.path)).toEqual(["/one", "/two", "/three"]);
      for (const line of lines)
        expect(line).toMatchObject({ host: HOST, method: "GET", status: 200, backend: "web" });
      // Nothing but JSON on standard output, so that a collector never stumbles.
      for (const line of edge.process.stdout().trimEnd().split("\n"))
        expect(() => JSON.parse(line)).not.toThrow();
    });

    test("SIGTERM under load: what is in flight finishes, then the exit code is 0", async () => {
      const edge = await startEdge(runtime, config());
      const to = { port: edge.https.port, host: HOST, ca };
      const load = startLoad(to, 4);
      await eventually("50 answers", () => load.tally.done >= 50);
      const held = visit({ ...to, path: "/hold-h1" });
      const session = await connect2(to);
      const held2 = visit2(session, { ...to, path: "/hold-h2" });
      const [one, two] = [
        await eventually("the held request", () => origin.open.get("/hold-h1")),
        await eventually("the held request", () => origin.open.get("/hold-h2")),
      ];
      edge.process.signal("SIGTERM");
      await eventually("new connections are refused", async () => {
        try {
          await visit({ ...to, boundMs: 1000 });
          return false;
        } catch {
          return true; // Refused, which is what we wait for.
        }
      });
      expect(edge.process.running()).toBe(true);
      one.end("held\n");
      two.end("held\n");
      expect((await held).body).toBe("held\n");
      expect((await held2).body).toBe("held\n");
      session.close();
      const end: Ended = await edge.process.ended;
      const { failures } = await load.stop();
      expect(end).toEqual({ code: 0, signal: undefined });
      // After the end only refused connections are left; no answer was cut short and none was an error.
      expect(
        failures.filter((failure) => !/ECONNREFUSED|ECONNRESET|socket hang up|disconnected/.test(failure)),
      ).toEqual([]);
    });

    /** One clear line, an exit code that scripts can see, and no stack. */
    const expectPlainError = (result: { code: number | undefined; output: string }, words: RegExp): void => {
      expect(result.code, result.output).toBeGreaterThan(0);
      expect(result.output).toMatch(words);
      expect(result.output).not.toMatch(/^\s+at .+:\d+/m);
      expect(result.output).not.toMatch(/\\n\s+at /);
    };

    test("a busy port is said in one line that names it", async () => {
      const other = createServer();
      await new Promise<void>((resolve) => other.listen({ port: 0, host: "127.0.0.1" }, resolve));
      const { port } = other.address() as { port: number };
      const path = config({ listen: { https: `127.0.0.1:${port}` } });
      const result = await skerry(runtime, ["serve", "--config", path]);
      other.close();
      expectPlainError(result, new RegExp(`127\\.0\\.0\\.1:${port}`));
    });

    test("a storage folder that cannot be written is said in one line that names it", async () => {
      const file = join(mkdtempSync(join(tmpdir(), "skerry-edge-")), "in-the-way");
      writeFileSync(file, "a file, not a folder");
      for (const folder of [`${file}/certs`, "/proc/skerry-certs"]) {
        const result = await skerry(runtime, ["serve", "--config", config({ storage: `file:${folder}` })]);
        expectPlainError(result, new RegExp(folder.replaceAll("/", "\\/")));
      }
    });

    test("a config that cannot be used is said in lines that name the field or the file", async () => {
      const cases: [string, RegExp][] = [
        [config({ hosts: { [HOST]: { backend: "webb", tls } } }), /webb/],
        [config({ listen: { https: "nowhere" } }), /listen\.https/],
        [config({ drainTimeout: 5 }), /drainTimeout/],
        [configFile("{ broken"), /skerry\.config\.json/],
        [configFile("export default {{", "skerry.config.ts"), /skerry\.config\.ts/],
        [configFile("throw new Error('not today');", "skerry.config.ts"), /not today/],
        [join(tmpdir(), "no-such-folder", "skerry.config.json"), /no-such-folder/],
      ];
      for (const [path, words] of cases)
        expectPlainError(await skerry(runtime, ["serve", "--config", path]), words);
    }, 60_000);
  });
}
