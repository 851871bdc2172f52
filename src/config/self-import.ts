/**
 * Lets a config file anywhere on the disk `import … from "skerry"` and `from "hono"`: both mean this very program
 * and the Hono it runs with, whatever stands in a `node_modules` near the file. So `/etc/skerry/skerry.config.ts` needs no
 * package of its own, and middleware shares one copy of Hono with the edge.
 */
import { readFileSync } from "node:fs";
import * as nodeModule from "node:module";

interface BunPluginHost {
  plugin(plugin: {
    name: string;
    setup(build: {
      module(name: string, load: () => Promise<{ exports: unknown; loader: "object" }>): void;
    }): void;
  }): void;
}

interface ResolveHooks {
  resolve(
    specifier: string,
    context: unknown,
    next: (specifier: string, context: unknown) => unknown,
  ): unknown;
  load(url: string, context: unknown, next: (url: string, context: unknown) => unknown): unknown;
}

/** Where each specifier leads: our own exports beside this file, and Hono's as its package.json lists them. */
export function ownModules(): Map<string, string> {
  const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
  const own = (path: string): string => new URL(`../${path}${extension}`, import.meta.url).href;
  const modules = new Map([
    ["skerry", own("index")],
    ["skerry/middleware", own("middleware/index")],
  ]);
  const honoManifest = new URL("../package.json", import.meta.resolve("hono"));
  const { exports } = JSON.parse(readFileSync(honoManifest, "utf8")) as {
    exports: Record<string, { import?: string | { default?: string } }>;
  };
  for (const [key, { import: target }] of Object.entries(exports)) {
    const path = typeof target === "string" ? target : target?.default;
    if (path && !key.includes("*")) modules.set(`hono${key.slice(1)}`, new URL(path, honoManifest).href);
  }
  return modules;
}

let registered = false;

/** Registers the names above with the runtime's module loader. Idempotent; call before a config file is imported. */
export function registerSelfImports(): void {
  if (registered) return;
  registered = true;
  const modules = ownModules();
  const bun = (globalThis as { Bun?: BunPluginHost }).Bun;
  if (bun) {
    // Bun 1.4.5 has no module.registerHooks, and its onResolve hooks do not see bare specifiers at run time.
    bun.plugin({
      name: "skerry",
      setup(build) {
        for (const [name, url] of modules)
          build.module(name, async () => ({ exports: await import(url), loader: "object" }));
      },
    });
    return;
  }
  const { registerHooks } = nodeModule as unknown as { registerHooks(hooks: ResolveHooks): void };
  registerHooks({
    resolve(specifier, context, next) {
      const url = modules.get(specifier);
      return url ? { url, shortCircuit: true } : next(specifier, context);
    },
    // Deno 2.9.6 forgets what `resolve` said of bare specifiers unless a load hook stands beside it.
    load: (url, context, next) => next(url, context),
  });
}
