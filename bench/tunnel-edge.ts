/** An edge for the tunnel's benchmarks: one host whose server is reached over TCP, others that are reached by tunnels. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { Cores } from "./machine.ts";
import { type Child, freePort, launch, run } from "./process.ts";

export const ROOT: string = fileURLToPath(new URL("..", import.meta.url));
const SKERRY = join(ROOT, "src/cli/skerry.ts");

export interface TunnelEdge {
  readonly port: number;
  readonly token: string;
}

/** Polls its output; 10 s at most. */
export async function until(what: string, child: Child, pattern: RegExp, everyMs = 25): Promise<void> {
  for (let tries = 0; tries < 10_000 / everyMs; tries++) {
    const { stdout, stderr } = child.output();
    if (pattern.test(stdout + stderr)) return;
    if (!child.running()) break;
    await wait(everyMs);
  }
  throw new Error(`${what} did not start: ${child.output().stderr}`);
}

/**
 * `servers` gives each host's server; a host without one belongs to the wormholes of the token.
 * All of them share one certificate, made here.
 */
export async function startTunnelEdge(
  folder: string,
  cores: Cores,
  servers: Readonly<Record<string, string | undefined>>,
): Promise<TunnelEdge> {
  const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
  const hosts = Object.keys(servers);
  const names = `subjectAltName=${hosts.map((host) => `DNS:${host}`).join()}`;
  const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key];
  const request = ["-x509", "-subj", "/CN=bench", "-addext", names, "-out", cert];
  await run("openssl", ["openssl", "req", ...ec, ...request], { cores: cores.load });
  const port = await freePort();
  const config = join(folder, "skerry.config.json");
  const backendOf = (host: string): string =>
    servers[host] === undefined ? "wormhole" : host.replace(/\W/g, "-");
  writeFileSync(
    config,
    JSON.stringify({
      listen: { http: "127.0.0.1:0", https: `127.0.0.1:${port}`, admin: "127.0.0.1:0" },
      tunnel: { address: `127.0.0.1:${port}` },
      storage: "file:./storage",
      accessLog: false,
      backends: {
        wormhole: {},
        ...Object.fromEntries(
          hosts.flatMap((host) => (servers[host] ? [[backendOf(host), { servers: [servers[host]] }]] : [])),
        ),
      },
      hosts: Object.fromEntries(
        hosts.map((host) => [host, { backend: backendOf(host), tls: { cert, key } }]),
      ),
    }),
  );
  const options = { cores: String(cores.proxy), cwd: folder };
  const edge = launch("edge", [process.execPath, SKERRY, "serve", "--config", config], options);
  await until("the edge", edge, /edge\.ready/);
  const create = [process.execPath, SKERRY, "token", "create", "wormhole", "--config", config];
  const made = await run("token", create, options);
  const token = /WORMHOLE_TOKEN=(\S+)/.exec(made)?.[1];
  if (token === undefined) throw new Error("no token was made");
  return { port, token };
}
