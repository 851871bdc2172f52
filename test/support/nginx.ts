/** nginx as a backend on loopback: answers its name, gives and takes big files. */
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { type Child, listening, start } from "./processes.ts";

export interface NginxBackend {
  readonly name: string;
  readonly port: number;
  /** `http://127.0.0.1:PORT`, as it stands in a config. */
  readonly url: string;
  readonly process: Child;
  /** Starts it again on the same port after it was killed. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Bytes of the file at `/big`. */
export const BIG_FILE_BYTES: number = 200 * 1024 * 1024;

/**
 * Starts nginx in the foreground as a single process.
 *
 * - `/` says `You have reached NAME`; every answer carries `X-Backend: NAME`
 * - `/headers` repeats in JSON what it was told of the client
 * - `/big` is a sparse file of 200 MB
 * - `/upload` (PUT) reads a body of up to 1 GB, answers 201
 * - `/status/204`, `/status/304`, `/status/500`
 */
export async function startNginx(name: string): Promise<NginxBackend> {
  const folder = mkdtempSync(join(tmpdir(), "skerry-nginx-"));
  const port = await freePort();
  mkdirSync(join(folder, "files", "upload"), { recursive: true });
  writeFileSync(join(folder, "files", "big"), "");
  truncateSync(join(folder, "files", "big"), BIG_FILE_BYTES);
  writeFileSync(join(folder, "nginx.conf"), config(name, port, folder));
  const launch = async (): Promise<Child> => {
    const child = start("nginx", ["-e", "stderr", "-p", folder, "-c", join(folder, "nginx.conf")], {
      env: { PATH: `${process.env.PATH ?? ""}:/usr/sbin` },
    });
    await Promise.race([listening(port), child.ended.then(() => Promise.reject(new Error(child.output())))]);
    return child;
  };
  let child = await launch();
  return {
    name,
    port,
    url: `http://127.0.0.1:${port}`,
    get process() {
      return child;
    },
    async restart() {
      await child.stop("SIGKILL");
      child = await launch();
    },
    async stop() {
      await child.stop("SIGTERM", 3000);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function config(name: string, port: number, folder: string): string {
  return `
daemon off;
master_process off;
pid ${folder}/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  default_type text/plain;
  client_max_body_size 1g;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  keepalive_requests 1000000;
  server {
    listen 127.0.0.1:${port};
    root ${folder}/files;
    add_header X-Backend ${name} always;
    location = / { return 200 "You have reached ${name}\\n"; }
    location = /headers {
      default_type application/json;
      return 200 '{"host":"$http_host","for":"$http_x_forwarded_for","proto":"$http_x_forwarded_proto","forwardedHost":"$http_x_forwarded_host","protocol":"$server_protocol","connection":"$http_connection"}';
    }
    location = /big { }
    location /upload/ { dav_methods PUT DELETE; }
    location = /status/204 { return 204; }
    location = /status/304 { return 304; }
    location = /status/500 { return 500 "broken\\n"; }
  }
}
`;
}
