/** Reading a config file, whatever it is written in. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, extname, relative, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { EdgeError, messageOf } from "../errors.ts";
import { runtimeName } from "../runtime.ts";
import type { ResolvedConfig } from "./config.ts";
import { DuplicateNameError, JsonSyntaxError, parseJson } from "./json.ts";
import { type ResolveOptions, readFailure, resolveConfig } from "./resolve.ts";
import { withSelfImports } from "./self-import.ts";

/** Looked for in the working directory, in this order, where no file is named. */
export const DEFAULT_FILES: readonly string[] = [
  "skerry.config.ts",
  "skerry.config.js",
  "skerry.config.json",
];

/** A config file's content, unchecked. */
export interface ConfigSource {
  /** Absolute. */
  readonly file: string;
  readonly input: unknown;
}

/**
 * Reads, checks and completes a config. Reading a TypeScript or JavaScript file again runs that file again, but not
 * the modules that it imports: these stay as they were first loaded.
 *
 * @param file - relative to the working directory; by default the first of {@link DEFAULT_FILES} that exists
 * @throws EdgeError CONFIG_UNREADABLE or CONFIG_INVALID, whose message names the file, one line for each problem
 */
export async function loadConfig(
  file?: string,
  options: Pick<ResolveOptions, "certificates"> = {},
): Promise<ResolvedConfig> {
  return resolveSource(await readConfig(file), options);
}

/** The second half of {@link loadConfig}, for input that was changed after reading. */
export function resolveSource(
  { file, input }: ConfigSource,
  options: Pick<ResolveOptions, "certificates"> = {},
): ResolvedConfig {
  try {
    return resolveConfig(input, { ...options, file, folder: dirname(file) });
  } catch (error) {
    if (!(error instanceof EdgeError)) throw error;
    const name = shortName(file);
    throw new EdgeError(error.code, error.message.replace(/^/gm, `${name}: `), {
      source: "operator",
    });
  }
}

/** The first half of {@link loadConfig}. */
export async function readConfig(file?: string): Promise<ConfigSource> {
  const path = file === undefined ? defaultFile() : resolve(file);
  const name = shortName(path);
  const text = readText(path, name);
  switch (extname(path)) {
    case ".json":
      return { file: path, input: readJson(text, name) };
    case ".ts":
    case ".mts":
    case ".js":
    case ".mjs":
      return { file: path, input: await importDefault(path, name) };
    default:
      throw new EdgeError("CONFIG_UNREADABLE", `${name}: a config file ends in .ts, .js, .mjs or .json`, {
        source: "operator",
      });
  }
}

function defaultFile(): string {
  const found = DEFAULT_FILES.find((name) => existsSync(name));
  if (found !== undefined) return resolve(found);
  throw new EdgeError(
    "CONFIG_UNREADABLE",
    `no ${DEFAULT_FILES.join(", ")} in this folder; name a file with --config FILE`,
    { source: "operator" },
  );
}

/** A config file, as messages name it and a person would type it: relative where that is shorter. */
export function shortName(path: string): string {
  const near = relative(process.cwd(), path);
  return near !== "" && near.length < path.length && !near.startsWith("../..") ? near : path;
}

function readText(path: string, name: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new EdgeError("CONFIG_UNREADABLE", `${name}: ${readFailure(error)}`, {
      source: "operator",
      cause: error,
    });
  }
}

function readJson(text: string, name: string): unknown {
  try {
    return parseJson(text);
  } catch (error) {
    const place = error instanceof JsonSyntaxError ? `:${error.line}:${error.column}` : "";
    const kind = error instanceof DuplicateNameError ? "" : "not JSON: ";
    throw new EdgeError("CONFIG_INVALID", `${name}${place}: ${kind}${messageOf(error)}`, {
      source: "operator",
    });
  }
}

let imports = 0;

async function importDefault(path: string, name: string): Promise<unknown> {
  // Every runtime keeps modules by their full specifier, so a new query means a new reading. Bun 1.4.5 leaves the query
  // of a file: URL out of that key, but not that of a path.
  const specifier = `${runtimeName === "bun" ? path : pathToFileURL(path).href}?reading=${++imports}`;
  let loaded: { default?: unknown };
  try {
    loaded = (await withSelfImports(() => import(specifier))) as { default?: unknown };
  } catch (error) {
    throw new EdgeError("CONFIG_INVALID", importFailure(error, path, name), { source: "operator" });
  }
  if (loaded.default !== undefined) return loaded.default;
  throw new EdgeError(
    "CONFIG_INVALID",
    `${name}: no default export; write export default defineEdge({ … })`,
    {
      source: "operator",
    },
  );
}

interface Position {
  readonly line?: number;
  readonly column?: number;
}

/** Deno colours its messages. */
const COLOUR = /\u001B\[[\d;]*m/g;

/** Names that tell nobody more than the message does: a plain error's, our own's, and what Bun calls a missing module. */
const UNTELLING: ReadonlySet<string> = new Set(["Error", "EdgeError", "ResolveMessage"]);

/** `skerry.config.ts:12:5: TypeError: …`, from what each runtime says in its own way. */
function importFailure(error: unknown, path: string, name: string): string {
  // Bun 1.4.5 wraps syntax errors in an AggregateError, whose parts have a position and no stack.
  const first = (error as { errors?: unknown[] }).errors?.[0] ?? error;
  const { position } = first as { position?: Position | null };
  const stack = first instanceof Error ? String(first.stack).replace(COLOUR, "") : "";
  const message = messageOf(first).replace(COLOUR, "");
  // Node says "path:line" for what it cannot parse; frames of all three say "path[?query]:line:column".
  const escaped = path.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
  const frame = new RegExp(`${escaped}(?:\\?[^:\\s)]*)?:(\\d+)(?::(\\d+))?`).exec(`${stack}\n${message}`);
  const line = position?.line ?? frame?.[1];
  const column = position?.column ?? frame?.[2];
  const place = line === undefined ? "" : `:${line}${column === undefined ? "" : `:${column}`}`;
  const text =
    message
      .split("\n")
      .find((part) => part.trim() !== "")
      ?.trim() ?? "failed to load";
  const kind =
    first instanceof Error && !/Error\b/.test(text) && !UNTELLING.has(first.name) && !position
      ? `${first.name}: `
      : "";
  return `${name}${place}: ${kind}${text.replace(/\?reading=\d+/g, "")}`;
}
