/** Caddy on one processor, with a keep-alive pool large enough for every connection. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { versionOf } from "../machine.ts";
import { DENY_HEADER, EDGE_HEADER, HOSTNAME, type Site, type Target } from "./target.ts";

export const caddy: Target = {
  name: "caddy",
  label: () => `Caddy ${versionOf(["caddy", "version"])}`,
  protocols: ["h1", "h2"],
  programs: ["caddy"],
  prepare(site) {
    const path = join(site.folder, "Caddyfile");
    writeFileSync(path, config(site));
    return {
      command: ["caddy", "run", "--config", path, "--adapter", "caddyfile"],
      // It keeps its state under these; one processor is what it has.
      env: {
        GOMAXPROCS: "1",
        HOME: site.folder,
        XDG_DATA_HOME: site.folder,
        XDG_CONFIG_HOME: site.folder,
      },
    };
  },
};

function config(site: Site): string {
  const [one, two] = site.backends;
  const rules = `
  @denied header ${DENY_HEADER} *
  respond @denied 403
  header ${EDGE_HEADER} caddy`;
  return `{
  admin off
  auto_https off
  log {
    output stderr
    level ERROR
  }
  servers {
    protocols h1 h2
    timeouts {
      idle 75s
    }
  }
}
https://${HOSTNAME}:${site.port} {
  bind 127.0.0.1
  tls ${site.certPath} ${site.keyPath} {
    protocols tls1.3
  }${site.rules ? rules : ""}
  reverse_proxy 127.0.0.1:${one} 127.0.0.1:${two} {
    lb_policy random_choose 2
    transport http {
      compression off
      keepalive 75s
      keepalive_idle_conns 1024
      keepalive_idle_conns_per_host 512
    }
  }
}
`;
}
