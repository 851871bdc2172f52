/** The two usual ways to proxy on Node: Hono's `proxy()` on `@hono/node-server`, and http-proxy-3. */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { Target } from "./target.ts";

const require = createRequire(import.meta.url);

function peer(name: string, title: string, packageName: string, program: string): Target {
  return {
    name,
    label: () => `${title} ${packageVersion(packageName)} on Node ${process.versions.node}`,
    protocols: ["h1", "h2"],
    programs: [],
    prepare: (site) => ({
      command: [process.execPath, fileURLToPath(new URL(`../programs/${program}`, import.meta.url))],
      env: { BENCH_SITE: JSON.stringify(site) },
    }),
  };
}

function packageVersion(name: string): string {
  for (const folder of require.resolve.paths(name) ?? []) {
    try {
      return String((require(`${folder}/${name}/package.json`) as { version: string }).version);
    } catch {
      // not under this folder
    }
  }
  return "";
}

export const hono: Target = peer("hono", "Hono proxy()", "hono", "hono-proxy.ts");
export const httpProxy3: Target = peer("http-proxy-3", "http-proxy-3", "http-proxy-3", "http-proxy-3.ts");
