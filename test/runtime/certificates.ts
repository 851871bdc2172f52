/** Certificates by themselves: obtained, renewed under load, kept through an outage of the CA. */
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { configFile, type EdgeProcess, type Runtime, startEdge } from "../support/edge.ts";
import { type NginxBackend, startNginx } from "../support/nginx.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePort } from "../support/ports.ts";
import { eventually } from "../support/processes.ts";
import { connect2, handshake, startLoad, visit, visit2, visitPlain } from "./client.ts";

const A = "a.example.test";
const B = "b.example.test";

/** A config whose plain port is the one that the CA validates at. */
function config(
  { ca, httpPort }: { ca: Pebble; httpPort: number },
  backends: readonly NginxBackend[],
  hosts: readonly string[],
): object {
  return {
    listen: { http: `127.0.0.1:${httpPort}`, https: "127.0.0.1:0", admin: "127.0.0.1:0" },
    storage: "file:./certs",
    location: "here",
    acme: {
      directory: ca.directory,
      trustedCa: ca.caPath,
      email: "ops@example.test",
      agreeToTerms: true,
    },
    backends: { web: { servers: backends.map(({ url }) => url) } },
    hosts: Object.fromEntries(hosts.map((host) => [host, { backend: "web" }])),
  };
}

/** Waits until a host's certificate comes from the CA. */
function obtained(edge: EdgeProcess, host: string, roots: string, boundMs = 45_000): Promise<string> {
  return eventually(
    `${host} has a certificate of the CA`,
    async () => (await handshake({ port: edge.https.port, host, ca: roots })).certificate.serialNumber,
    boundMs,
  );
}

export function certificateTests(runtime: Runtime): void {
  describe(`${runtime}: certificates`, () => {
    let ca: Pebble;
    let httpPort: number;
    let backends: [NginxBackend, NginxBackend];
    let edge: EdgeProcess;
    let path: string;
    let roots: string;

    beforeAll(async () => {
      httpPort = await freePort();
      ca = await startPebble({ httpPort });
      roots = await ca.root();
      backends = [await startNginx("statler"), await startNginx("waldorf")];
      path = configFile(config({ ca, httpPort }, backends, [A, B]));
      edge = await startEdge(runtime, path);
      await Promise.all([obtained(edge, A, roots), obtained(edge, B, roots)]);
    });
    afterAll(async () => {
      await edge?.stop();
      await ca?.close();
      await Promise.all((backends ?? []).map((backend) => backend.stop()));
      rmSync(dirname(path), { recursive: true, force: true });
    });

    test("every configured host gets its own certificate, in a chain up to the CA's root", async () => {
      for (const host of [A, B]) {
        const { certificate, protocol } = await handshake({ port: edge.https.port, host, ca: roots });
        expect(certificate.subjectaltname).toBe(`DNS:${host}`);
        expect(protocol).toBe("TLSv1.3");
        expect(certificate.issuerCertificate.subject.CN).toMatch(/Pebble/);
      }
    });

    test("requests reach both backends, and each server answers its share", async () => {
      const load = startLoad({ port: edge.https.port, host: A, ca: roots });
      await eventually("100 answers", () => load.tally.done >= 100);
      // One that was held up for a moment gets less until its peak has faded.
      const share = (name: string): number => load.tally.servers.get(name) ?? 0;
      await eventually("more than 10 of each", () => share("statler") > 10 && share("waldorf") > 10, 60_000);
      const { failures, servers } = await load.stop();
      expect(failures).toEqual([]);
      expect([...servers.keys()].sort()).toEqual(["statler", "waldorf"]);
    }, 90_000);

    test("the client chooses HTTP/2 or HTTP/1.1 by ALPN", async () => {
      const at = { port: edge.https.port, ca: roots, host: A };
      expect((await handshake({ ...at, alpn: ["h2", "http/1.1"] })).alpn).toBe("h2");
      expect((await handshake({ ...at, alpn: ["http/1.1"] })).alpn).toBe("http/1.1");
      const session = await connect2(at);
      const answers = await Promise.all(Array.from({ length: 20 }, () => visit2(session, at)));
      session.close();
      for (const { status, body } of answers) {
        expect(status).toBe(200);
        expect(body).toMatch(/^You have reached (statler|waldorf)\n$/);
      }
      expect((await visit(at)).status).toBe(200);
    });

    test("a server hears who asked, for which host, and over what", async () => {
      const { body } = await visit({ port: edge.https.port, host: A, ca: roots, path: "/headers" });
      expect(JSON.parse(body)).toMatchObject({ for: "127.0.0.1", proto: "https", protocol: "HTTP/1.1" });
      expect(body).toContain(A);
    });

    test("port 80 sends visitors to HTTPS with 308", async () => {
      const answer = await visitPlain({ port: edge.http.port, host: A, path: "/a?b=c" });
      expect(answer.status).toBe(308);
      expect(answer.headers.location).toMatch(
        new RegExp(`^https://${A.replaceAll(".", "\\.")}(:\\d+)?/a\\?b=c$`),
      );
    });

    test("an unknown name is refused in the handshake and orders nothing", async () => {
      const issued = ca.issued();
      await expect(handshake({ port: edge.https.port, host: "c.example.test" })).rejects.toThrow();
      const plain = await visitPlain({ port: edge.http.port, host: "c.example.test" });
      expect(plain.status).toBeGreaterThanOrEqual(400);
      expect(ca.issued()).toBe(issued);
      const about = edge.logs().filter((line) => JSON.stringify(line).includes("c.example.test"));
      expect(about.filter(({ event }) => event.startsWith("certificate."))).toEqual([]);
    });

    test("a restart during an outage of the CA serves what storage holds, and a new host waits for the CA", async () => {
      const before = await obtained(edge, A, roots);
      await edge.stop();
      await ca.stop();
      const more = config({ ca, httpPort }, backends, [A, B, "new.example.test"]);
      path = configFile({ ...more, storage: `file:${dirname(path)}/certs` });
      edge = await startEdge(runtime, path);
      expect(await obtained(edge, A, roots, 5000)).toBe(before);
      expect((await visit({ port: edge.https.port, host: A, ca: roots })).status).toBe(200);
      // A placeholder: the handshake is done, and nobody could take it for a real certificate.
      const waiting = { port: edge.https.port, host: "new.example.test" };
      expect((await handshake(waiting)).certificate.serialNumber).toBeTruthy();
      await expect(handshake({ ...waiting, ca: roots })).rejects.toThrow();

      await ca.start();
      roots = await ca.root();
      await obtained(edge, "new.example.test", roots, 90_000);
      expect((await visit({ port: edge.https.port, host: "new.example.test", ca: roots })).status).toBe(200);
    }, 150_000);
  });

  describe(`${runtime}: renewal`, () => {
    test("a certificate of 60 seconds is renewed under load without a failed request", async () => {
      const httpPort = await freePort();
      const ca = await startPebble({ httpPort, validitySeconds: 60 });
      const roots = await ca.root();
      const backend = await startNginx("statler");
      const edge = await startEdge(runtime, configFile(config({ ca, httpPort }, [backend], [A])));
      await obtained(edge, A, roots);
      const load = startLoad({ port: edge.https.port, host: A, ca: roots }, 2);
      await eventually("a second certificate", () => load.tally.serials.size >= 2, 70_000);
      await eventually("a third certificate", () => load.tally.serials.size >= 3, 70_000);
      const { failures, done } = await load.stop();
      expect(failures).toEqual([]);
      expect(done).toBeGreaterThan(100);
      await edge.stop();
      await ca.close();
      await backend.stop();
    }, 200_000);
  });
}
