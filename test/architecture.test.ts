/** The rules of the house that matter are tests. docs/architecture.md gives the reasons. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const SRC = fileURLToPath(new URL("../src", import.meta.url));

/** Root files that everything may import; they import only each other. */
const LEAVES: readonly string[] = ["errors", "clock", "log", "metrics", "runtime", "version"];

/** Folder → what it may import besides itself and, where not said otherwise, the leaves. */
const MAY: Readonly<Record<string, readonly string[]>> = {
  storage: [],
  fleet: ["storage"],
  exchange: [],
  upstream: ["exchange"],
  middleware: ["exchange"],
  http1: ["exchange"],
  http2: ["exchange"],
  tls: ["storage"],
  proxy: ["exchange", "upstream", "http1", "http2"],
  tunnel: ["exchange", "http2", "upstream"],
  config: ["exchange"],
  edge: [
    "config",
    "exchange",
    "http1",
    "http2",
    "tls",
    "storage",
    "fleet",
    "upstream",
    "proxy",
    "middleware",
    "tunnel",
  ],
  admin: ["config", "edge", "exchange", "fleet", "upstream", "tls", "storage", "tunnel"],
  cli: ["config", "edge", "admin", "exchange", "fleet", "storage", "tls", "upstream", "tunnel", "index"],
};

/** Folder → whose types it may name besides, as `import type`: nothing of it is loaded. */
const MAY_NAME: Readonly<Record<string, readonly string[]>> = {
  tls: ["config"],
  upstream: ["config"],
  proxy: ["config"],
};

/** Folders that take a leaf only in part. */
const LEAVES_OF: Readonly<Record<string, readonly string[]>> = { config: ["errors", "runtime"] };

/** The agent runs in other people's containers: small, quick to start, and with nothing of the edge. */
const IN_AGENT = /^(\.|node:)/;

interface Import {
  readonly specifier: string;
  readonly typeOnly: boolean;
}

interface SourceFile {
  /** "tls/manager.ts" */
  readonly path: string;
  /** "tls", or undefined for a file of the root. */
  readonly folder: string | undefined;
  readonly text: string;
  readonly code: string;
  readonly imports: readonly Import[];
}

function files(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? files(join(folder, entry.name)) : [join(folder, entry.name)],
  );
}

/** The text without comments, so that an `@example` imports nothing. Strings keep what looks like a comment in them. */
function withoutComments(text: string): string {
  return text.replace(
    /("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)|\/\*[\s\S]*?\*\/|(^|[\s;{}(),])\/\/[^\n]*/g,
    (_all, literal?: string, before?: string) => literal ?? before ?? "",
  );
}

function importsOf(code: string): Import[] {
  const found: Import[] = [];
  for (const [, type, specifier] of code.matchAll(
    /(?:^|[;\n}])\s*(?:import|export)\s+(type\s)?(?:[^"';()]*?\sfrom\s*)?["']([^"'\n]+)["']/g,
  ))
    found.push({ specifier: specifier!, typeOnly: type !== undefined });
  for (const [, specifier] of code.matchAll(/\bimport\(\s*["']([^"'\n]+)["']/g))
    found.push({ specifier: specifier!, typeOnly: false });
  return found;
}

const SOURCES: readonly SourceFile[] = files(SRC)
  .filter((path) => /\.(ts|tsx)$/.test(path))
  .map((path) => {
    const text = readFileSync(path, "utf8");
    const code = withoutComments(text);
    const parts = relative(SRC, path).split(sep);
    return {
      path: parts.join("/"),
      folder: parts.length > 1 ? parts[0] : undefined,
      text,
      code,
      imports: importsOf(code),
    };
  });

/** What a relative import names: a folder, or a root file without its ending. Undefined for a package. */
function target(file: SourceFile, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  const path = relative(SRC, join(SRC, file.path, "..", specifier)).split(sep);
  return path.length > 1 ? path[0] : path[0]!.replace(/\.tsx?$/, "");
}

function offences(look: (file: SourceFile) => string[]): string[] {
  return SOURCES.flatMap((file) => look(file).map((what) => `src/${file.path}: ${what}`));
}

describe("the sources", () => {
  test("are there to be looked at", () => {
    expect(SOURCES.length).toBeGreaterThan(10);
    expect(SOURCES.flatMap((file) => file.imports).length).toBeGreaterThan(10);
  });

  test("lie in folders one level deep that the table knows", () => {
    expect(
      offences((file) => {
        if (file.path.split("/").length > 2) return ["lies deeper than one folder"];
        return file.folder !== undefined && !(file.folder in MAY) ? ["lies in a folder without rules"] : [];
      }),
    ).toEqual([]);
  });

  test("import in the directions of the table", () => {
    expect(
      offences((file) => {
        if (file.folder === undefined && !LEAVES.includes(file.path.replace(".ts", ""))) return []; // index.ts: the public face
        const leaves = file.folder === undefined ? LEAVES : (LEAVES_OF[file.folder] ?? LEAVES);
        const may = [...(file.folder ? [file.folder, ...(MAY[file.folder] ?? [])] : []), ...leaves];
        const mayName = [...may, ...(MAY_NAME[file.folder ?? ""] ?? [])];
        return file.imports
          .map(({ specifier, typeOnly }) => ({
            to: target(file, specifier),
            allowed: typeOnly ? mayName : may,
          }))
          .filter(({ to, allowed }) => to !== undefined && !allowed.includes(to))
          .map(({ to }) => `may not import ${to}`);
      }),
    ).toEqual([]);
  });

  test("name imported files with their ending, as all three runtimes want it", () => {
    expect(
      offences((file) =>
        file.imports
          .filter(({ specifier }) => specifier.startsWith(".") && !/\.(tsx?|json)$/.test(specifier))
          .map(({ specifier }) => `imports ${specifier}`),
      ),
    ).toEqual([]);
  });

  test("take time and chance from clock.ts alone", () => {
    const own = /\b(?:Date\.now|performance\.now|Math\.random|setTimeout|setInterval)\b|new Date\(\)/g;
    expect(
      offences((file) =>
        file.path === "clock.ts" ? [] : (file.code.match(own) ?? []).map((use) => `uses ${use}`),
      ),
    ).toEqual([]);
  });

  test("use no node:http2, which a vanishing client can crash, and no server but node:tls and node:net", () => {
    expect(
      offences((file) => [
        ...file.imports
          .filter(({ specifier }) => /^(node:)?http2$/.test(specifier))
          .map(({ specifier }) => `imports ${specifier}`),
        ...(file.code.match(/\b(?:(?:Bun|Deno)\.serve|https?\.(?:createServer|Server))\b/g) ?? []).map(
          (use) => `uses ${use}`,
        ),
      ]),
    ).toEqual([]);
  });

  test("write built-in modules with node:", () => {
    const bare = /^(net|tls|fs|path|os|crypto|stream|url|util|events|buffer|http|dns|zlib|process)(\/|$)/;
    expect(
      offences((file) =>
        file.imports
          .filter(({ specifier }) => bare.test(specifier))
          .map(({ specifier }) => `imports ${specifier}`),
      ),
    ).toEqual([]);
  });

  test("stay within 400 lines", () => {
    expect(
      offences((file) => {
        const lines = file.text.split("\n").length;
        return lines > 400 ? [`has ${lines} lines`] : [];
      }),
    ).toEqual([]);
  });

  test("have no barrel but the package's exports", () => {
    // "skerry/middleware" is an export of the package.
    expect(
      offences((file) =>
        /\/index\.tsx?$/.test(file.path) && file.path !== "middleware/index.ts" ? ["is a barrel"] : [],
      ),
    ).toEqual([]);
  });
});

describe("the agent", () => {
  /** Every source that is loaded at run time when `entry` is. */
  function closure(entry: string, seen: Set<string> = new Set<string>()): Set<string> {
    const file = SOURCES.find(({ path }) => path === entry);
    if (!file || seen.has(entry)) return seen;
    seen.add(entry);
    for (const { specifier, typeOnly } of file.imports)
      if (!typeOnly && specifier.startsWith("."))
        closure(
          relative(SRC, join(SRC, file.path, "..", specifier))
            .split(sep)
            .join("/"),
          seen,
        );
    return seen;
  }

  // "skerry wormhole" is the other way in.
  test.each(["tunnel/agent.ts", "cli/wormhole.ts"])("loads no package and no proxy code: %s", (entry) => {
    const reached = closure(entry);
    expect(reached.has("tunnel/link.ts")).toBe(true);
    const loaded = SOURCES.filter(({ path }) => reached.has(path));
    const foreign = loaded.flatMap((file) => [
      ...(["proxy", "tls", "middleware", "config", "edge"].includes(file.folder ?? "") ? [file.path] : []),
      ...file.imports
        .filter(({ specifier, typeOnly }) => !typeOnly && !IN_AGENT.test(specifier))
        .map(({ specifier }) => `${file.path} imports ${specifier}`),
    ]);
    expect(foreign).toEqual([]);
  });
});
