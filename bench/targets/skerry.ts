/** Skerry from source on each runtime, with a config file as a user would write it. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { versionOf } from "../machine.ts";
import { DENY_HEADER, EDGE_HEADER, HOSTNAME, type Site, type Target } from "./target.ts";

const ROOT = new URL("../../", import.meta.url);
const ENTRY = fileURLToPath(new URL("src/cli/skerry.ts", ROOT));

function skerry(name: string, title: string, runtime: string, args: readonly string[]): Target {
  const installed = fileURLToPath(new URL(`node_modules/.bin/${runtime}`, ROOT));
  const program = (): string => (existsSync(installed) ? installed : runtime);
  return {
    name,
    label: () => `Skerry on ${title} ${versionOf([program(), "--version"])}`,
    protocols: ["h1", "h2"],
    programs: [],
    prepare(site) {
      writeFileSync(join(site.folder, "package.json"), `{ "type": "module" }\n`);
      const path = join(site.folder, "skerry.config.ts");
      writeFileSync(path, config(site));
      return {
        command: [program(), ...args, ENTRY, "serve", "--config", path],
        env: { DENO_NO_UPDATE_CHECK: "1" },
      };
    },
  };
}

export const skerryOnNode: Target = skerry("node", "Node", "node", []);
export const skerryOnBun: Target = skerry("bun", "Bun", "bun", []);
/** As the README starts it. */
export const skerryOnDeno: Target = skerry("deno", "Deno", "deno", [
  "run",
  "-A",
  "--v8-flags=--memory-reducer-delay-ms=600000",
]);

function config(site: Site): string {
  const servers = site.backends.map((port) => `http://127.0.0.1:${port}`);
  const rules = `
const readsOne: MiddlewareHandler = async (c, next) => {
  if (c.req.header("${DENY_HEADER}") !== undefined) return c.text("denied", 403);
  return next();
};
const setsOne: MiddlewareHandler = async (c, next) => {
  await next();
  c.header("${EDGE_HEADER}", "skerry");
};
`;
  return `import { defineEdge } from "skerry";
import type { MiddlewareHandler } from "hono";
${site.rules ? rules : ""}
export default defineEdge({
  listen: { http: "127.0.0.1:0", https: "127.0.0.1:${site.port}", admin: "127.0.0.1:0" },
  storage: "file:./certs",
  accessLog: false,
  backends: { web: { servers: ${JSON.stringify(servers)} } },
  hosts: {
    "${HOSTNAME}": {
      backend: "web",
      tls: { cert: ${JSON.stringify(site.certPath)}, key: ${JSON.stringify(site.keyPath)} },
      use: [${site.rules ? "readsOne, setsOne" : ""}],
    },
  },
});
`;
}
