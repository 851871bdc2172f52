/** `npm run bench -- tunnel`: the same server over TCP and through tunnels, behind the same edge, in interleaved rounds. */
import { mkdtempSync, rmSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { startBackends } from "./backends.ts";
import { type Cores, chooseCores } from "./machine.ts";
import { launch, stopAll } from "./process.ts";
import { median } from "./stats.ts";
import { ROOT, startTunnelEdge, type TunnelEdge, until } from "./tunnel-edge.ts";
import { type Peer, sshPeer, websocketPeer } from "./tunnel-peers.ts";
import { measureStart } from "./tunnel-start.ts";

const ROUNDS = 5;
const SECONDS = 3;
const HOSTS = { direct: "localhost", wormhole: "wormhole.localhost" } as const;

/** Seconds for one body of 100 MiB. */
function download(port: number, host: string): Promise<number> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port,
      servername: host,
      headers: { host },
      rejectUnauthorized: false,
    };
    https
      .get({ ...options, path: "/body-100", agent: false }, (response) => {
        response.resume();
        response.on("end", () => resolve((performance.now() - began) / 1000));
      })
      .on("error", reject);
  });
}

/** Requests in a second, on 64 connections. */
async function rate(port: number, host: string, cores: Cores): Promise<number> {
  // wrk resolves names by the system, which knows only one of them; the edge goes by Host.
  const asked = ["-H", `Host: ${host}`, `https://${HOSTS.direct}:${port}/`];
  const wrk = launch("wrk", ["wrk", "-t1", "-c64", `-d${SECONDS}s`, ...asked], {
    cores: cores.load,
    keepAll: true,
  });
  await until("wrk's end", wrk, /Requests\/sec:\s+[\d.]+/);
  const said = wrk.output().stdout;
  if (/Non-2xx|Socket errors/.test(said)) throw new Error(`${host}: ${said}`);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(said)?.[1]);
}

/** The table of rates and speeds. */
async function measureCost(
  edge: TunnelEdge,
  hosts: Readonly<Record<string, string>>,
  cores: Cores,
): Promise<string> {
  const ways = Object.keys(hosts);
  const rates = new Map(ways.map((way) => [way, [] as number[]]));
  const speeds = new Map(ways.map((way) => [way, [] as number[]]));
  for (let round = 0; round < ROUNDS; round++)
    for (const [way, host] of Object.entries(hosts)) {
      rates.get(way)?.push(await rate(edge.port, host, cores));
      speeds.get(way)?.push(100 / (await download(edge.port, host)));
    }
  const row = (title: string, of: ReadonlyMap<string, number[]>): string => {
    const base = median(of.get(ways[0]!)!);
    const cells = [...of.values()].map((each, at) => {
      const value = median(each);
      return at === 0 ? value.toFixed(0) : `${value.toFixed(0)} (${(value / base).toFixed(2)})`;
    });
    return `| ${title} | ${cells.join(" | ")} |\n`;
  };
  return `| median of ${ROUNDS} (ratio) | ${ways.join(" | ")} |\n| --- |${" ---: |".repeat(ways.length)}\n${row("requests/s, 1 KiB, 64 connections", rates)}${row("MiB/s, one body of 100 MiB", speeds)}`;
}

/** Prints its tables; resolves with the exit code. */
export async function benchTunnel(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: { only: { type: "string", default: "start,cost" }, websocket: { type: "string" } },
  });
  const parts = values.only.split(",");
  const odd = parts.find((part) => !["start", "cost"].includes(part));
  if (odd !== undefined) {
    process.stderr.write(`--only takes start and cost, not ${JSON.stringify(odd)}\n`);
    return 2;
  }
  const folder = mkdtempSync(join(tmpdir(), "skerry-bench-"));
  const cores = chooseCores();
  try {
    const backends = await startBackends(folder, cores.load);
    const server = `127.0.0.1:${backends.ports[0]}`;
    const place = { folder, cores, target: server };
    const peers: Peer[] = [];
    if (parts.includes("cost")) {
      const ssh = await sshPeer(place);
      if (ssh) peers.push(ssh);
      else process.stderr.write("without ssh -R: apt-get install openssh-server openssh-client\n");
      if (values.websocket !== undefined) peers.push(await websocketPeer(resolve(values.websocket), place));
      else
        process.stderr.write(
          "without WebSockets: npm install --prefix FOLDER wstunnel, then --websocket FOLDER\n",
        );
    }
    const edge = await startTunnelEdge(folder, cores, {
      [HOSTS.direct]: `http://${server}`,
      [HOSTS.wormhole]: undefined,
      ...Object.fromEntries(peers.map((peer) => [peer.host, peer.server])),
    });
    if (parts.includes("start"))
      process.stdout.write(`${await measureStart(edge, `${cores.proxy},${cores.load}`)}\n`);
    if (parts.includes("cost")) {
      const agent = launch("agent", [process.execPath, join(ROOT, "src/cli/wormhole.ts")], {
        cores: cores.load,
        env: { WORMHOLE_TOKEN: edge.token, WORMHOLE_TARGET: server },
      });
      await until("the wormhole", agent, /wormhole\.joined/);
      for (const peer of peers) await peer.start();
      const ways = { "over TCP": HOSTS.direct, "by wormhole": HOSTS.wormhole };
      const others = Object.fromEntries(peers.map(({ name, host }) => [name, host]));
      process.stdout.write(await measureCost(edge, { ...ways, ...others }, cores));
    }
    return 0;
  } finally {
    await stopAll();
    rmSync(folder, { recursive: true, force: true });
  }
}
