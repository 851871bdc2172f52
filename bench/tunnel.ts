/** `npm run bench -- tunnel`: the same server over TCP and through a wormhole, behind the same edge, in interleaved rounds. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { startBackends } from "./backends.ts";
import { chooseCores } from "./machine.ts";
import { type Child, freePort, launch, run, stopAll } from "./process.ts";

const SOURCE = fileURLToPath(new URL("../src/cli/", import.meta.url));
const ROUNDS = 5;
const SECONDS = 3;
const HOSTS = { direct: "localhost", wormhole: "wormhole.localhost" } as const;

async function until(what: string, child: Child, pattern: RegExp): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    const { stdout, stderr } = child.output();
    if (pattern.test(stdout + stderr)) return;
    if (!child.running()) break;
    await wait(25);
  }
  throw new Error(`${what} did not start: ${child.output().stderr}`);
}

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

const median = (values: number[]): number => values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

/** Prints a table; resolves with the exit code. */
export async function benchTunnel(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "skerry-bench-"));
  const cores = chooseCores();
  try {
    const backends = await startBackends(folder, cores.load);
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const names = `subjectAltName=${Object.values(HOSTS)
      .map((host) => `DNS:${host}`)
      .join()}`;
    const ec = [
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      key,
      "-out",
      cert,
    ];
    await run("openssl", ["openssl", "req", "-x509", ...ec, "-subj", "/CN=bench", "-addext", names], {
      cores: cores.load,
    });
    const port = await freePort();
    const server = `127.0.0.1:${backends.ports[0]}`;
    const config = join(folder, "skerry.config.json");
    writeFileSync(
      config,
      JSON.stringify({
        listen: { http: "127.0.0.1:0", https: `127.0.0.1:${port}`, admin: "127.0.0.1:0" },
        tunnel: { address: `127.0.0.1:${port}` },
        storage: "file:./storage",
        accessLog: false,
        backends: { direct: { servers: [`http://${server}`] }, wormhole: {} },
        hosts: {
          [HOSTS.direct]: { backend: "direct", tls: { cert, key } },
          [HOSTS.wormhole]: { backend: "wormhole", tls: { cert, key } },
        },
      }),
    );
    const node = process.execPath;
    const options = { cores: String(cores.proxy), cwd: folder };
    const edge = launch("edge", [node, join(SOURCE, "skerry.ts"), "serve", "--config", config], options);
    await until("the edge", edge, /edge\.ready/);
    const made = launch(
      "token",
      [node, join(SOURCE, "skerry.ts"), "token", "create", "wormhole", "--config", config],
      options,
    );
    await until("the token", made, /WORMHOLE_TOKEN=\S+\n/);
    const token = /WORMHOLE_TOKEN=(\S+)/.exec(made.output().stdout)?.[1] ?? "";
    const agent = launch("agent", [node, join(SOURCE, "wormhole.ts")], {
      cores: cores.load,
      env: { WORMHOLE_TOKEN: token, WORMHOLE_TARGET: server },
    });
    await until("the wormhole", agent, /wormhole\.joined/);

    const rates: Record<keyof typeof HOSTS, number[]> = { direct: [], wormhole: [] };
    const speeds: Record<keyof typeof HOSTS, number[]> = { direct: [], wormhole: [] };
    for (let round = 0; round < ROUNDS; round++)
      for (const way of ["direct", "wormhole"] as const) {
        const host = HOSTS[way];
        // wrk resolves names by the system, which knows only one of them; the edge goes by Host.
        const wrk = launch(
          "wrk",
          ["wrk", "-t1", "-c64", `-d${SECONDS}s`, "-H", `Host: ${host}`, `https://${HOSTS.direct}:${port}/`],
          { cores: cores.load, keepAll: true },
        );
        await until("wrk's end", wrk, /Requests\/sec:\s+[\d.]+/);
        const said = wrk.output().stdout;
        if (/Non-2xx|Socket errors/.test(said)) throw new Error(`${way}: ${said}`);
        rates[way].push(Number(/Requests\/sec:\s+([\d.]+)/.exec(said)?.[1]));
        speeds[way].push(100 / (await download(port, HOSTS[way])));
      }
    const row = (title: string, of: typeof rates): string => {
      const [direct, wormhole] = [median(of.direct), median(of.wormhole)];
      return `| ${title} | ${direct.toFixed(0)} | ${wormhole.toFixed(0)} | ${(wormhole / direct).toFixed(2)} |\n`;
    };
    process.stdout.write(
      `| median of ${ROUNDS} | over TCP | by wormhole | ratio |\n| --- | ---: | ---: | ---: |\n${row("requests/s, 1 KiB, 64 connections", rates)}${row("MiB/s, one body of 100 MiB", speeds)}`,
    );
    return 0;
  } finally {
    await stopAll();
    rmSync(folder, { recursive: true, force: true });
  }
}
