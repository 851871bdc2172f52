/** The two backends behind every proxy: nginx on loopback, one worker each, on the load's cores. */
import { closeSync, ftruncateSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type Child, freePort, launch } from "./process.ts";

export const MIB: number = 2 ** 20;
/** What `/` answers with, in bytes. */
export const SMALL_BODY_BYTES = 1024;
/** Body sizes under test, in MiB. Each has a file, `/body-N`, and a sink, `/sink-N`. */
export const BODY_MIB: readonly number[] = [1, 100];

export interface Backends {
  readonly ports: readonly [number, number];
  /** The file with `mib` MiB, for uploads. */
  bodyFile(mib: number): string;
  /** Requests answered by both since a fixed point: only the difference of two calls says anything. */
  requests(): Promise<number>;
  stop(): Promise<void>;
}

export async function startBackends(folder: string, cores: string): Promise<Backends> {
  const files = join(folder, "files");
  mkdirSync(files, { recursive: true });
  const bodyFile = (mib: number): string => join(files, `body-${mib}`);
  for (const mib of BODY_MIB) {
    const file = openSync(bodyFile(mib), "w");
    ftruncateSync(file, mib * MIB);
    closeSync(file);
  }
  const one = await startBackend(join(folder, "backend-1"), files, cores);
  const two = await startBackend(join(folder, "backend-2"), files, cores);
  let asked = 0;
  return {
    ports: [one.port, two.port],
    bodyFile,
    async requests() {
      const counts = await Promise.all([one.port, two.port].map(requestCount));
      asked += 1;
      return counts.reduce((sum, count) => sum + count - asked, 0);
    },
    async stop() {
      await Promise.all([one.child.stop(), two.child.stop()]);
    },
  };
}

async function startBackend(
  folder: string,
  files: string,
  cores: string,
): Promise<{ child: Child; port: number }> {
  mkdirSync(folder, { recursive: true });
  const [port, sinkPort] = [await freePort(), await freePort()];
  const config = join(folder, "nginx.conf");
  writeFileSync(config, backendConfig(folder, files, port, sinkPort));
  const child = launch("backend", ["nginx", "-p", folder, "-c", config, "-e", "stderr"], { cores });
  for (let tries = 0; tries < 100; tries++) {
    if (!child.running()) throw new Error(`a backend did not start: ${child.output().stderr}`);
    const ready = await requestCount(port).then(
      () => true,
      () => false,
    );
    if (ready) return { child, port };
    await wait(50);
  }
  throw new Error("a backend did not answer in 5 s");
}

/** The third number under "server accepts handled requests" of stub_status. */
async function requestCount(port: number): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${port}/status`, { signal: AbortSignal.timeout(5_000) });
  const [, count] = /\d+ \d+ (\d+)/.exec(await answer.text()) ?? [];
  if (count === undefined) throw new Error("the backend gave no count");
  return Number(count);
}

/**
 * A sink answers only after it has read the whole body into memory: request buffering does that before it
 * passes an empty request on to the second listener.
 */
function backendConfig(folder: string, files: string, port: number, sinkPort: number): string {
  const sinks = BODY_MIB.map(
    (mib) => `
    location = /sink-${mib} {
      client_max_body_size 0;
      client_body_buffer_size ${mib}m;
      proxy_pass http://127.0.0.1:${sinkPort};
      proxy_pass_request_body off;
      proxy_set_header Content-Length "";
    }`,
  ).join("");
  return `
daemon off;
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes 1;
worker_rlimit_nofile 16384;
pid ${folder}/nginx.pid;
error_log stderr crit;
events { worker_connections 8192; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  default_type application/octet-stream;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  open_file_cache max=16;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = / { default_type text/plain; return 200 "${"x".repeat(SMALL_BODY_BYTES)}"; }
    location = /status { stub_status; }
    location / { root ${files}; }${sinks}
  }
  server {
    listen 127.0.0.1:${sinkPort} backlog=4096;
    location / { return 200 "read"; }
  }
}
`;
}
