/**
 * nginx and Apache as witnesses: each tells every request back as it understood it. The first line of an answer's body is
 * the method and the target, what follows is the request's body, byte by byte; "X-Witness" carries the request's id.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePorts } from "../support/ports.ts";

export interface Witness {
  readonly name: string;
  readonly url: string;
  /** How many requests it answered by 200 so far, by its own log. */
  count(): number;
}

export interface Witnesses {
  readonly nginx: Witness;
  readonly apache: Witness;
  close(): Promise<void>;
}

const MODULES = "/usr/lib/apache2/modules";

/** Starts both on loopback. */
export async function startWitnesses(): Promise<Witnesses> {
  const folder = mkdtempSync(join(tmpdir(), "skerry-witness-"));
  const [nginxPort, apachePort] = (await freePorts(2)) as [number, number];
  const echo = spawn(process.execPath, [fileURLToPath(new URL("echo.ts", import.meta.url))], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line] = (await once(echo.stdout, "data")) as [Buffer];
  const echoPort = Number(line.toString());
  mkdirSync(join(folder, "logs"));
  writeFileSync(join(folder, "apache.conf"), apacheConfig(folder, apachePort, echoPort));
  writeFileSync(join(folder, "nginx.conf"), nginxConfig(folder, nginxPort, echoPort));
  const env = { ...process.env, PATH: `${process.env.PATH ?? ""}:/usr/sbin` };
  const run = (command: string, args: string[]): ChildProcess =>
    spawn(command, args, { env, stdio: ["ignore", "ignore", "inherit"] });
  const children: ChildProcess[] = [
    echo,
    run("apache2", ["-d", folder, "-f", join(folder, "apache.conf"), "-DFOREGROUND"]),
    run("nginx", ["-e", join(folder, "logs", "nginx"), "-p", folder, "-c", join(folder, "nginx.conf")]),
  ];
  const end = (): void => {
    for (const child of children) child.kill("SIGTERM");
  };
  process.once("exit", end);
  for (const port of [nginxPort, apachePort]) await accepts(port);
  const witness = (name: string, port: number): Witness => ({
    name,
    url: `http://127.0.0.1:${port}`,
    count: () => readFileSync(join(folder, "logs", `${name}-seen`), "latin1").length / 2,
  });
  return {
    nginx: witness("nginx", nginxPort),
    apache: witness("apache", apachePort),
    async close() {
      process.removeListener("exit", end);
      const gone = children.map((child) => new Promise((resolve) => child.once("exit", resolve)));
      end();
      await Promise.all(gone);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function accepts(port: number): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect({ port, host: "127.0.0.1" });
      socket.once("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`nobody listens at port ${port}`);
}

/** Reads the whole request, framed anew by a length, before it asks the echo for it. */
function apacheConfig(folder: string, port: number, echo: number): string {
  return `
PidFile ${folder}/apache.pid
Mutex posixsem
Listen 127.0.0.1:${port}
LoadModule mpm_event_module ${MODULES}/mod_mpm_event.so
LoadModule authz_core_module ${MODULES}/mod_authz_core.so
LoadModule env_module ${MODULES}/mod_env.so
LoadModule proxy_module ${MODULES}/mod_proxy.so
LoadModule proxy_http_module ${MODULES}/mod_proxy_http.so
StartServers 1
ServerLimit 1
ThreadsPerChild 64
MaxRequestWorkers 64
ServerName localhost
DocumentRoot ${folder}
ErrorLog ${folder}/logs/apache
LogLevel crit
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
TraceEnable Off
MergeSlashes Off
HttpProtocolOptions Strict
AllowEncodedSlashes NoDecode
SetEnv proxy-sendcl 1
ProxyPass / http://127.0.0.1:${echo}/ nocanon disablereuse=off
# A dot for every request that was answered by 200, and nothing else.
LogFormat "." dot
CustomLog ${folder}/logs/apache-seen dot "expr=%{REQUEST_STATUS} == '200'"
<Directory />
  Require all granted
</Directory>
`;
}

/** The same, and of the fields only the request's id goes on. */
function nginxConfig(folder: string, port: number, echo: number): string {
  return `
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log ${folder}/logs/nginx crit;
events { worker_connections 1024; }
http {
  log_format dot ".";
  map $status $good { default 0; 200 1; }
  access_log ${folder}/logs/nginx-seen dot if=$good;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  client_body_buffer_size 64k;
  keepalive_requests 100000000;
  keepalive_timeout 60s;
  underscores_in_headers on;
  merge_slashes off;
  upstream echo { server 127.0.0.1:${echo}; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_http_version 1.1;
      proxy_pass_request_headers off;
      proxy_set_header Connection "";
      proxy_set_header Host echo;
      proxy_set_header X-Request-Id $http_x_request_id;
      proxy_pass http://echo;
    }
  }
}
`;
}
