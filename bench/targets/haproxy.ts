/** HAProxy with one thread, connections shared by all requests, no logs. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { versionOf } from "../machine.ts";
import { DENY_HEADER, EDGE_HEADER, type Site, type Target } from "./target.ts";

export const haproxy: Target = {
  name: "haproxy",
  label: () => `HAProxy ${versionOf(["haproxy", "-v"])}`,
  protocols: ["h1", "h2"],
  programs: ["haproxy"],
  prepare(site) {
    const bundle = join(site.folder, "bundle.pem");
    writeFileSync(bundle, readFileSync(site.certPath, "utf8") + readFileSync(site.keyPath, "utf8"), {
      mode: 0o600,
    });
    const path = join(site.folder, "haproxy.cfg");
    writeFileSync(path, config(site, bundle));
    return { command: ["haproxy", "-db", "-f", path] };
  },
};

function config(site: Site, bundle: string): string {
  const [one, two] = site.backends;
  const rules = `
  http-request deny deny_status 403 if { req.hdr(${DENY_HEADER}) -m found }
  http-response set-header ${EDGE_HEADER} haproxy`;
  return `
global
  nbthread 1
  maxconn 8000
  ssl-default-bind-options ssl-min-ver TLSv1.3
  tune.h2.max-concurrent-streams 128
  tune.h2.initial-window-size 262144
  tune.ssl.cachesize 20000

defaults
  mode http
  maxconn 8000
  timeout connect 5s
  timeout client 75s
  timeout server 75s
  timeout http-keep-alive 75s
  option http-keep-alive
  option forwardfor

frontend edge
  bind 127.0.0.1:${site.port} ssl crt ${bundle} alpn h2,http/1.1 backlog 4096
  http-request set-header X-Forwarded-Proto https${site.rules ? rules : ""}
  default_backend servers

backend servers
  balance random(2)
  http-reuse always
  server one 127.0.0.1:${one} pool-max-conn 512 pool-purge-delay 75s
  server two 127.0.0.1:${two} pool-max-conn 512 pool-purge-delay 75s
`;
}
