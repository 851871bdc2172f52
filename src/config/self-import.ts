/**
 * Lets a config file anywhere on the disk `import … from "skerry"` and `from "hono"`: both mean this very program
 * and the Hono it runs with, whatever stands in a `node_modules` near the file. So `/etc/skerry/skerry.config.ts` needs no
 * package of its own, and middleware shares one copy of Hono with the edge.
 */
import { readFileSync } from "node:fs";
import * as nodeModule from "node:module";
import { runtimeName } from "../runtime.ts";

interface BunPluginHost {
  plugin(plugin: {
    name: string;
    setup(build: {
      module(name: string, load: () => Promise<{ exports: unknown; loader: "object" }>): void;
    }): void;
  }): void;
}

interface LoadHooks {
  resolve(
    specifier: string,
    context: unknown,
    next: (specifier: string, context: unknown) => unknown,
  ): unknown;
  load?(url: string, context: unknown, next: (url: string, context: unknown) => object): unknown;
}

type RegisterHooks = (hooks: LoadHooks) => { deregister(): void };

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

/** Runs `load`, which imports a module; in that and in what it imports, the names above mean this program. */
export async function withSelfImports<T>(load: () => Promise<T>): Promise<T> {
  const modules = ownModules();
  switch (runtimeName) {
    case "bun":
      if (!registered) registerWithBun(modules);
      registered = true;
      return load();
    case "node":
      if (!registered) registerHooks({ resolve: resolver(modules) });
      registered = true;
      return load();
    case "deno":
      return loadOnDeno(load, modules);
    default:
      return runtimeName satisfies never;
  }
}

const { registerHooks } = nodeModule as unknown as { registerHooks: RegisterHooks };

function resolver(modules: ReadonlyMap<string, string>): LoadHooks["resolve"] {
  return (specifier, context, next) => {
    const url = modules.get(specifier);
    return url ? { url, shortCircuit: true } : next(specifier, context);
  };
}

/** Bun 1.4.5 has no module.registerHooks, and its onResolve hooks do not see bare specifiers at run time. */
function registerWithBun(modules: ReadonlyMap<string, string>): void {
  const bun = (globalThis as unknown as { Bun: BunPluginHost }).Bun;
  bun.plugin({
    name: "skerry",
    setup(build) {
      for (const [name, url] of modules)
        build.module(name, async () => ({ exports: await import(url), loader: "object" }));
    },
  });
}

/**
 * Deno 2.9.5 forgets what `resolve` said of bare specifiers unless a load hook stands beside it, and with a load hook it
 * takes required JSON for code and loses its way in some CommonJS packages. So this program is loaded first, without
 * hooks, and they stay only while `load` runs.
 */
async function loadOnDeno<T>(load: () => Promise<T>, modules: ReadonlyMap<string, string>): Promise<T> {
  for (const [name, url] of modules) if (name.startsWith("skerry")) await import(url);
  const hooks = registerHooks({
    resolve: resolver(modules),
    load: (url, context, next) => {
      const loaded = next(url, context);
      return url.endsWith(".json") ? { ...loaded, format: "json" } : loaded;
    },
  });
  try {
    return await load();
  } finally {
    hooks.deregister();
  }
}
