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

interface ResolveHooks {
  resolve(
    specifier: string,
    context: unknown,
    next: (specifier: string, context: unknown) => unknown,
  ): unknown;
  load?(url: string, context: unknown, next: (url: string, context: unknown) => unknown): unknown;
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

/** Runs `work`, in which a config file is imported, with the names above known to the runtime's module loader. */
export async function withSelfImports<T>(work: () => Promise<T>): Promise<T> {
  if (runtimeName === "deno") return withDenoHooks(work);
  if (!registered) {
    registered = true;
    if (runtimeName === "bun") registerBun(ownModules());
    else nodeHooks().registerHooks({ resolve: resolver(ownModules()) });
  }
  return work();
}

/** Bun 1.4.5 has no module.registerHooks, and its onResolve hooks do not see bare specifiers at run time. */
function registerBun(modules: ReadonlyMap<string, string>): void {
  const { Bun: bun } = globalThis as unknown as { Bun: BunPluginHost };
  bun.plugin({
    name: "skerry",
    setup(build) {
      for (const [name, url] of modules)
        build.module(name, async () => ({ exports: await import(url), loader: "object" }));
    },
  });
}

/**
 * Deno 2.9.6 with hooks reads JSON that a CommonJS package requires as if it were code. So our own modules, which
 * depend on such packages, are loaded before, and the hooks are gone again after.
 */
async function withDenoHooks<T>(work: () => Promise<T>): Promise<T> {
  const modules = ownModules();
  for (const [name, url] of modules) if (name.startsWith("skerry")) await import(url);
  const hooks = nodeHooks().registerHooks({
    resolve: resolver(modules),
    // Deno 2.9.6 forgets what `resolve` said of bare specifiers unless a load hook stands beside it.
    load: (url, context, next) => next(url, context),
  });
  try {
    return await work();
  } finally {
    hooks.deregister();
  }
}

function resolver(modules: ReadonlyMap<string, string>): ResolveHooks["resolve"] {
  return (specifier, context, next) => {
    const url = modules.get(specifier);
    return url ? { url, shortCircuit: true } : next(specifier, context);
  };
}

function nodeHooks(): { registerHooks(hooks: ResolveHooks): { deregister(): void } } {
  return nodeModule as unknown as ReturnType<typeof nodeHooks>;
}
