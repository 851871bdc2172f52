/** Whole edges that prove their names in other ways than by HTTP-01, on each runtime. */
import { connect, type TLSSocket } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { configFile, type EdgeProcess, type Runtime, skerry, startEdge } from "../support/edge.ts";
import { type Knot, startKnot } from "../support/knot.ts";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePorts } from "../support/ports.ts";
import { eventually } from "../support/processes.ts";

const RUNTIMES: readonly Runtime[] = ["node", "bun", "deno"];
const LISTEN = { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" };
const BACKENDS = { web: { servers: ["http://127.0.0.1:1"] } };

let knot: Knot;
let pebble: Pebble;
let tlsPort: number;

beforeAll(async () => {
  [tlsPort = 0] = await freePorts(1);
  knot = await startKnot({ zones: { "example.test": ["@ 60 A 127.0.0.1", "* 60 A 127.0.0.1"] } });
  pebble = await startPebble({ httpPort: (await freePorts(1))[0]!, tlsPort, dnsServer: knot.address });
});

afterAll(async () => {
  await pebble?.close();
  await knot?.stop();
});

const acme = (fields: object) => ({
  directory: pebble.directory,
  trustedCa: pebble.caPath,
  agreeToTerms: true,
  ...fields,
});

interface Greeting {
  readonly names: string | undefined;
  readonly alpn: string | false | null;
}

/** A handshake with whoever is there; undefined where it is refused. */
async function greet(
  port: number,
  servername: string,
  options: { ca?: string; ALPNProtocols?: string[] } = {},
): Promise<Greeting | undefined> {
  const socket: TLSSocket = connect({
    host: "127.0.0.1",
    port,
    servername,
    rejectUnauthorized: options.ca !== undefined,
    ...options,
  });
  try {
    return await new Promise((resolve) => {
      socket.once("error", () => resolve(undefined));
      socket.once("secureConnect", () =>
        resolve({ names: socket.getPeerX509Certificate()?.subjectAltName, alpn: socket.alpnProtocol }),
      );
    });
  } finally {
    socket.destroy();
  }
}

const obtained = (edge: EdgeProcess) =>
  eventually("a certificate", () => {
    expect(edge.logs("certificate.failed")).toEqual([]);
    return edge.logs("certificate.obtained")[0];
  });

describe.each(RUNTIMES)("on %s", (runtime) => {
  test("a wildcard is proved by DNS-01, kept, and served to names of one label more", async () => {
    const dns = { provider: "rfc2136", server: knot.address, key: knot.key };
    const config = configFile({
      listen: LISTEN,
      storage: "file:./certs",
      acme: acme({ dns, dnsServers: [knot.address] }),
      backends: BACKENDS,
      hosts: { "*.example.test": { backend: "web" } },
    });
    const edge = await startEdge(runtime, config);
    await obtained(edge);
    const ca = await pebble.root();
    expect(await greet(edge.https.port, "a.example.test", { ca })).toMatchObject({
      names: "DNS:*.example.test",
    });
    expect(await greet(edge.https.port, "B.Example.test", { ca })).toBeDefined();
    expect(await greet(edge.https.port, "a.b.example.test")).toBeUndefined();
    expect(await greet(edge.https.port, "example.test")).toBeUndefined();
    expect((await edge.stop()).code).toBe(0);
    const again = await startEdge(runtime, config);
    expect(await greet(again.https.port, "c.example.test", { ca })).toBeDefined();
    expect(again.logs("certificate.obtained")).toEqual([]);
    await again.stop();
  });
});

// Deno cannot: see src/tls/solvers.ts.
test.each(["node", "bun"] as const)(
  "on %s, a name is proved by TLS-ALPN-01 on the port that serves visitors all the while",
  async (runtime) => {
    const edge = await startEdge(
      runtime,
      configFile({
        listen: { ...LISTEN, https: `127.0.0.1:${tlsPort}` },
        storage: "memory:",
        acme: acme({ challenges: ["tls-alpn-01"] }),
        backends: BACKENDS,
        hosts: { "alpn.example.test": { backend: "web" } },
      }),
    );
    await obtained(edge);
    const ca = await pebble.root();
    const name = "alpn.example.test";
    expect(await greet(tlsPort, name, { ca, ALPNProtocols: ["h2"] })).toEqual({
      names: `DNS:${name}`,
      alpn: "h2",
    });
    // Nothing is pending any more, so the protocol is a foreign one.
    expect(await greet(tlsPort, name, { ALPNProtocols: ["acme-tls/1"] })).toBeUndefined();
    await edge.stop();
  },
);

test("on deno, TLS-ALPN-01 alone is refused with what to do", async () => {
  const config = configFile({
    listen: LISTEN,
    storage: "memory:",
    acme: acme({ challenges: ["tls-alpn-01"] }),
    backends: BACKENDS,
    hosts: { "alpn.example.test": { backend: "web" } },
  });
  const result = await skerry("deno", ["serve", "--config", config]);
  expect(result.code).toBe(2);
  expect(result.stderr).toMatch(
    /^skerry: acme\.challenges: tls-alpn-01 cannot work on Deno; add http-01 or dns-01/,
  );
});
