/** nginx as an expert would set it up for this: one worker, a keep-alive pool, no logs. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { versionOf } from "../machine.ts";
import { DENY_HEADER, EDGE_HEADER, type Site, type Target } from "./target.ts";

export const nginx: Target = {
  name: "nginx",
  label: () => `nginx ${versionOf(["nginx", "-v"])}`,
  protocols: ["h1", "h2"],
  programs: ["nginx"],
  prepare(site) {
    const path = join(site.folder, "nginx.conf");
    writeFileSync(path, config(site));
    return { command: ["nginx", "-p", site.folder, "-c", path, "-e", "stderr"] };
  },
};

function config(site: Site): string {
  const [one, two] = site.backends;
  const deny = `$http_${DENY_HEADER.replaceAll("-", "_")}`;
  return `
daemon off;
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes 1;
worker_rlimit_nofile 16384;
pid ${site.folder}/nginx.pid;
error_log stderr crit;
events { worker_connections 8192; multi_accept on; }
http {
  access_log off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  server_tokens off;
  keepalive_timeout 75s;
  keepalive_requests 1000000000;
  client_body_temp_path ${site.folder}/body;
  proxy_temp_path ${site.folder}/proxy;
  fastcgi_temp_path ${site.folder}/fastcgi;
  uwsgi_temp_path ${site.folder}/uwsgi;
  scgi_temp_path ${site.folder}/scgi;
  upstream backends {
    random two least_conn;
    server 127.0.0.1:${one};
    server 127.0.0.1:${two};
    keepalive 512;
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
  }
  server {
    listen 127.0.0.1:${site.port} ssl http2 backlog=4096;
    server_name localhost;
    ssl_certificate ${site.certPath};
    ssl_certificate_key ${site.keyPath};
    ssl_protocols TLSv1.3;
    ssl_session_cache shared:tls:10m;
    http2_max_concurrent_streams 128;
    client_max_body_size 0;
    location / {
      ${site.rules ? `if (${deny}) { return 403; }\n      add_header ${EDGE_HEADER} nginx;` : ""}
      proxy_pass http://backends;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_request_buffering off;
      proxy_buffers 16 64k;
      proxy_busy_buffers_size 128k;
      proxy_max_temp_file_size 0;
    }
  }
}
`;
}
