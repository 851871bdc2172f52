/** The documentation is held to the source: links lead somewhere, and nothing an operator meets is left out. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { configJsonSchema } from "../src/config/schema.ts";
import { DEFAULT_LIMITS } from "../src/exchange/limits.ts";
import { ROOT } from "./support/processes.ts";

const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

function walk(folder: string, wanted: RegExp): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder === "." ? entry.name : `${folder}/${entry.name}`;
    if (entry.isDirectory()) return ["node_modules", "dist"].includes(entry.name) ? [] : walk(path, wanted);
    return wanted.test(entry.name) ? [path] : [];
  });
}

const SOURCE = walk("src", /\.tsx?$/)
  .map(read)
  .map((text) => text.replace(/^\s*(?:\/?\*|\/\/).*$/gm, ""))
  .join("\n");
const unique = (found: Iterable<RegExpMatchArray>): string[] =>
  [...new Set([...found].map(([, one]) => one!))].sort();

describe("the documentation", () => {
  test("links only to what is there", () => {
    const pages = [...walk("docs", /\.md$/), ...walk("examples", /\.md$/), "README.md", "CONTRIBUTING.md"];
    const dead = pages.flatMap((page) =>
      [...read(page).matchAll(/\]\(([^)#\s]+)(#[^)\s]*)?\)/g)]
        .map(([, target]) => target!)
        .filter((target) => !/^[a-z]+:/.test(target) && !existsSync(join(ROOT, dirname(page), target)))
        .map((target) => `${page}: ${target}`),
    );
    expect(dead).toEqual([]);
  });

  test("the README stays within 120 lines", () => {
    expect(read("README.md").split("\n").length).toBeLessThanOrEqual(121);
  });

  test("every field of the config is explained", () => {
    const page = read("docs/configuration.md");
    const fields = new Set<string>();
    const visit = (schema: unknown): void => {
      if (typeof schema !== "object" || schema === null) return;
      const { properties, ...rest } = schema as { properties?: Record<string, unknown> };
      for (const [name, inner] of Object.entries(properties ?? {})) {
        fields.add(name);
        visit(inner);
      }
      for (const inner of Object.values(rest)) visit(inner);
    };
    visit(configJsonSchema());
    expect(fields.size).toBeGreaterThan(40);
    const told = unique(page.matchAll(/`(?:[\w]+\.)*([\w$]+)`/g));
    const headings = unique(page.matchAll(/^## `(\w+)/gm));
    const composed = ["listen", "url", "weight", "http2"]; // Told of by their parts, or within another row.
    expect([...fields].filter((name) => ![...told, ...headings, ...composed].includes(name))).toEqual([]);
  });

  test("the limits have the defaults that are written down", () => {
    const page = read("docs/configuration.md");
    const written = new Map(
      [...page.matchAll(/^\| `((?:http2\.)?\w+)` \| ([\d ]+) \|/gm)].map(([, name, value]) => [
        name!,
        Number(value!.replaceAll(" ", "")),
      ]),
    );
    for (const [name, value] of Object.entries(DEFAULT_LIMITS))
      if (typeof value === "number") expect([name, written.get(name)]).toEqual([name, value]);
    for (const [name, value] of Object.entries(DEFAULT_LIMITS.http2))
      if (!name.startsWith("max") || !name.endsWith("WindowBytes"))
        expect([name, written.get(`http2.${name}`)]).toEqual([name, value]);
  });

  test("every metric is named in the operations page", () => {
    const metrics = unique(SOURCE.matchAll(/"(skerry_[a-z0-9_]+)"/g));
    const page = read("docs/operations.md");
    expect(metrics.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  });

  test("every event of the log is named in the operations page", () => {
    const events = unique(SOURCE.matchAll(/\blog\.(?:info|warn|error)\(\s*"([\w.]+)"/g));
    const page = read("docs/operations.md");
    expect(events.length).toBeGreaterThan(5);
    expect(events.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  });
});
