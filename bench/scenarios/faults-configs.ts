/** Each proxy as one would run it to survive an ill server: a second for an answer, another server after that. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Command, HOSTNAME, type Site, type Target } from "../targets/target.ts";

export function nginx(site: Site): Command {
  const path = join(site.folder, "nginx.conf");
  const servers = site.backends.map((port) => `server 127.0.0.1:${port};`).join(" ");
  writeFileSync(
    path,
    `daemon off;
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes 1;
pid ${site.folder}/nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path ${site.folder}/body;
  proxy_temp_path ${site.folder}/proxy;
  fastcgi_temp_path ${site.folder}/fastcgi;
  uwsgi_temp_path ${site.folder}/uwsgi;
  scgi_temp_path ${site.folder}/scgi;
  keepalive_requests 1000000000;
  upstream backends { zone backends 64k; random two least_conn; ${servers} keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${site.port} ssl http2;
    ssl_certificate ${site.certPath};
    ssl_certificate_key ${site.keyPath};
    location / {
      proxy_pass http://backends;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_connect_timeout 1s;
      proxy_read_timeout 1s;
      proxy_next_upstream error timeout invalid_header http_502 http_503 http_504;
      proxy_next_upstream_tries 3;
    }
  }
}
`,
  );
  return { command: ["nginx", "-p", site.folder, "-c", path, "-e", "stderr"] };
}

export function haproxy(site: Site): Command {
  const path = join(site.folder, "haproxy.cfg");
  const bundle = join(site.folder, "bundle.pem");
  writeFileSync(bundle, readFileSync(site.certPath, "utf8") + readFileSync(site.keyPath, "utf8"), {
    mode: 0o600,
  });
  const servers = site.backends.map((port, index) => `  server s${index} 127.0.0.1:${port}`).join("\n");
  writeFileSync(
    path,
    `global
  nbthread 1
defaults
  mode http
  timeout connect 1s
  timeout client 75s
  timeout server 1s
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response response-timeout 0rtt-rejected 502 503 504
frontend edge
  bind 127.0.0.1:${site.port} ssl crt ${bundle} alpn h2,http/1.1
  default_backend servers
backend servers
  balance random(2)
  http-reuse always
  option httpchk GET /count
  default-server check inter 1s fall 2 rise 1
${servers}
`,
  );
  return { command: ["haproxy", "-db", "-f", path] };
}

export function caddy(site: Site): Command {
  const path = join(site.folder, "Caddyfile");
  const servers = site.backends.map((port) => `127.0.0.1:${port}`).join(" ");
  writeFileSync(
    path,
    `{
  admin off
  auto_https off
  log {
    output discard
  }
}
https://${HOSTNAME}:${site.port} {
  bind 127.0.0.1
  tls ${site.certPath} ${site.keyPath}
  reverse_proxy ${servers} {
    lb_policy random_choose 2
    lb_try_duration 5s
    lb_try_interval 20ms
    fail_duration 2s
    max_fails 3
    unhealthy_status 503
    transport http {
      dial_timeout 1s
      response_header_timeout 1s
      keepalive_idle_conns_per_host 256
    }
  }
}
`,
  );
  const { folder } = site;
  const env = { GOMAXPROCS: "1", HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
  return { command: ["caddy", "run", "--config", path, "--adapter", "caddyfile"], env };
}

/** As the target itself would be started, with another backend. */
export function skerry(target: Target): (site: Site) => Command {
  return (site) => {
    const started = target.prepare(site);
    const path = join(site.folder, "skerry.config.ts");
    const more = `responseTimeoutMs: 1000, retry: { statuses: [502, 503, 504] }, hedge: { afterMs: 100 }`;
    const text = readFileSync(path, "utf8");
    writeFileSync(path, text.replace(/(web: \{ servers: \[[^\]]*\])/, `$1, ${more}`));
    return started;
  };
}
