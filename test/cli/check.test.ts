/** `skerry check` and the rest that needs no edge, as a person runs it, on all three runtimes. */
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { testCa } from "../support/ca.ts";
import { skerry } from "../support/edge.ts";
import { ROOT } from "../support/processes.ts";

type Result = Awaited<ReturnType<typeof skerry>>;

const version = (JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string }).version;

/** A folder with the given files; commands run in it. */
function folder(files: Record<string, string>): string {
  const path = mkdtempSync(join(tmpdir(), "skerry-cli-"));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(path, name), content);
  return path;
}

const GOOD = JSON.stringify({
  acme: { agreeToTerms: true },
  backends: { web: { servers: ["http://10.0.0.5:8000", "http://10.0.0.6:8000"] }, api: {} },
  hosts: { "app.example.com": { backend: "web" } },
});

/** Exit code 2, nothing on standard output, and exactly these lines on standard error: no stack, no source excerpt. */
function expectRefused(result: Result, ...lines: (string | RegExp)[]): void {
  expect(result.stdout).toBe("");
  const told = result.stderr.trimEnd().split("\n");
  expect(told, result.stderr).toHaveLength(lines.length);
  lines.forEach((line, index) => {
    if (typeof line === "string") expect(told[index]).toBe(`skerry: ${line}`);
    else expect(told[index]).toMatch(line);
  });
  expect(result.code).toBe(2);
}

describe.each(["node", "bun", "deno"] as const)("on %s", (runtime) => {
  const check = (cwd: string, file?: string): Promise<Result> =>
    skerry(runtime, ["check", ...(file === undefined ? [] : ["--config", file])], { cwd });

  test("--version says the package's version", async () => {
    expect(await skerry(runtime, ["--version"])).toMatchObject({
      code: 0,
      stdout: `${version}\n`,
      stderr: "",
    });
  });

  test("--help names every command, and a command's own shows an example", async () => {
    const all = await skerry(runtime, ["--help"]);
    expect(all.code).toBe(0);
    for (const command of ["up", "dev", "serve", "check", "config"])
      expect(all.stdout).toMatch(new RegExp(`^  ${command}\\b`, "m"));
    for (const command of ["up", "dev", "serve", "check"]) {
      const one = await skerry(runtime, [command, "--help"]);
      expect(one).toMatchObject({ code: 0, stderr: "" });
      expect(one.stdout).toMatch(new RegExp(`Examples?:\\n  skerry ${command}`));
      expect(one.stdout).toContain("--config <file>");
    }
  });

  test("a command that does not exist is one line, with the nearest that does", async () => {
    expectRefused(
      await skerry(runtime, ["serv"]),
      "unknown command 'serv' (Did you mean serve?); see --help",
    );
    expectRefused(
      await skerry(runtime, ["check", "--cofig", "x"]),
      "unknown option '--cofig' (Did you mean --config?); see --help",
    );
    expectRefused(
      await skerry(runtime, ["up", "a b", "--to", ":3000"]),
      "<host> 'a b' is invalid: not a host name; see --help",
    );
  });

  test("a good JSON config is counted, also when it is found by its name", async () => {
    const cwd = folder({ "skerry.config.json": GOOD });
    const good = { code: 0, stdout: "ok: 1 host, 2 backends, 2 servers\n", stderr: "" };
    expect(await check(cwd, "skerry.config.json")).toMatchObject(good);
    expect(await check(cwd)).toMatchObject(good);
  });

  test.each(["ts", "mjs"])(
    "a config of code (.%s) may import skerry and hono with no package beside it",
    async (ending) => {
      const cwd = folder({
        [`edge.${ending}`]: `import { defineEdge } from "skerry";
import { Hono } from "hono";
${ending === "ts" ? "const servers: string[]" : "const servers"} = ["http://10.0.0.5:8000"];
export default defineEdge({
  acme: { agreeToTerms: true },
  backends: { web: { servers } },
  hosts: {
    "app.example.com": { backend: "web", use: [async (_c, next) => next()] },
    "api.example.com": new Hono().get("/", (c) => c.text("hello")),
  },
});
`,
      });
      expect(await check(cwd, `edge.${ending}`)).toMatchObject({
        code: 0,
        stdout: "ok: 2 hosts, 1 backend, 1 server\n",
        stderr: "",
      });
    },
  );

  test("every problem of a config is one line with file and path", async () => {
    const cwd = folder({
      "bad.json": JSON.stringify({
        backends: { web: { servers: ["http://10.0.0.5:8000", "10.0.0.5:80O0"] } },
        hosts: { "app.example.com": { backend: "wbe", tls: { cert: "a.pem", key: "a.key" } } },
      }),
    });
    expectRefused(
      await check(cwd, "bad.json"),
      'bad.json: backends.web.servers[1]: not a URL: "10.0.0.5:80O0"',
      'bad.json: hosts["app.example.com"].backend: no backend "wbe"; did you mean "web"?',
    );
  });

  test("a certificate without its key is a problem, one that clients may refuse a warning", async () => {
    const ca = await testCa();
    const [app, other] = [await ca.issueFor(["app.example.com"]), await ca.issueFor(["b.example.com"])];
    const at = (cert: string, key: string): string =>
      JSON.stringify({
        backends: { web: {} },
        hosts: { "app.example.com": { backend: "web", tls: { cert, key } } },
      });
    const cwd = folder({
      "app.pem": app.chain,
      "app.key": app.key,
      "b.pem": other.chain,
      "b.key": other.key,
      "good.json": at("app.pem", "app.key"),
      "swapped.json": at("app.pem", "b.key"),
      "other.json": at("b.pem", "b.key"),
    });
    expect(await check(cwd, "good.json")).toMatchObject({ code: 0, stderr: "" });
    expectRefused(
      await check(cwd, "swapped.json"),
      /^skerry: swapped\.json: hosts\["app\.example\.com"\]\.tls: .*app\.pem does not belong to its private key$/,
    );
    const warned = await check(cwd, "other.json");
    expect(warned).toMatchObject({ code: 0, stdout: "ok: 1 host, 1 backend, 0 servers\n" });
    expect(warned.stderr).toMatch(
      /^skerry: warning: other\.json: hosts\["app\.example\.com"\]\.tls: .*b\.pem is for b\.example\.com, not for app\.example\.com\n$/,
    );
  });

  test("a host that is there twice is one line with its place", async () => {
    const cwd = folder({
      "twice.json":
        '{ "backends": {}, "hosts": {\n  "a.example.com": { "backend": "web" },\n  "a.example.com": {}\n} }',
    });
    expectRefused(await check(cwd, "twice.json"), 'twice.json:3:3: "a.example.com" comes twice');
  });

  test("JSON that is none is one line with line and column", async () => {
    const cwd = folder({ "broken.json": '{\n  "hosts": {},\n}' });
    expectRefused(await check(cwd, "broken.json"), 'broken.json:2:14: not JSON: a "," before the end');
  });

  test("a file that is not there, not readable as a file, or of no known ending is one line", async () => {
    const cwd = folder({ "edge.yaml": "hosts: {}" });
    expectRefused(await check(cwd, "none.json"), "none.json: no such file");
    expectRefused(await check(cwd, "."), /it is a folder|illegal operation/);
    expectRefused(await check(cwd, "edge.yaml"), "edge.yaml: a config file ends in .ts, .js, .mjs or .json");
    expectRefused(
      await check(cwd),
      "no skerry.config.ts, skerry.config.js, skerry.config.json in this folder; name a file with --config FILE",
    );
  });

  test("a config of code that fails is one line with file and line", async () => {
    const cwd = folder({
      "throws.ts":
        'const hosts: object = {};\nthrow new RangeError("no such place\\nat all");\nexport default { hosts };\n',
      "syntax.ts": "const a: number = 1;\nconst b = {;\nexport default {};\n",
      "import.ts": 'import { nope } from "./gone.ts";\nexport default { hosts: nope };\n',
      "rejects.mjs": "export default await Promise.reject(new Error('not today'));\n",
      "string.mjs": "throw 'just words';\n",
      "nothing.ts": "export const hosts = {};\n",
    });
    expectRefused(await check(cwd, "throws.ts"), /^skerry: throws\.ts:2:\d+: RangeError: no such place$/);
    expectRefused(await check(cwd, "syntax.ts"), /^skerry: syntax\.ts:2(:\d+)?: .*(;|Expected)/);
    expectRefused(await check(cwd, "import.ts"), /^skerry: import\.ts(:1:\d+)?: .*gone\.ts/);
    expectRefused(await check(cwd, "rejects.mjs"), /^skerry: rejects\.mjs:1:\d+: not today$/);
    expectRefused(await check(cwd, "string.mjs"), /^skerry: string\.mjs: just words$/);
    expectRefused(
      await check(cwd, "nothing.ts"),
      "nothing.ts: no default export; write export default defineEdge({ … })",
    );
  });

  test("up says what it needs before it starts anything", async () => {
    const up = (...args: string[]): Promise<Result> => skerry(runtime, ["up", ...args], { cwd: folder({}) });
    expectRefused(
      await up(),
      /^skerry: required option '--to <address>' not specified|missing required argument 'host'/,
    );
    expectRefused(
      await up("app.example.com", "--to", ":3000"),
      "a certificate is ordered only when you accept Let's Encrypt's terms (https://letsencrypt.org/repository/): add --agree-to-terms",
    );
    expectRefused(
      await up("app.example.com", "--to", "127.0.0.1:30q0", "--agree-to-terms"),
      /--to.*not a URL: "http:\/\/127\.0\.0\.1:30q0"/,
    );
    expectRefused(
      await up("*.example.com", "--to", ":3000", "--agree-to-terms"),
      /a wildcard does not belong here; hosts of a config file may be one/,
    );
    expectRefused(
      await up("app.example.test", "--to", ":3000", "--agree-to-terms"),
      /^skerry: hosts\["app\.example\.test"\]: Let's Encrypt signs public names only/,
    );
  });

  test("config schema prints a JSON Schema that knows the fields and leaves code out", async () => {
    const { code, stdout } = await skerry(runtime, ["config", "schema"]);
    expect(code).toBe(0);
    const schema = JSON.parse(stdout) as { properties: Record<string, unknown>; required: string[] };
    expect(Object.keys(schema.properties)).toEqual(
      expect.arrayContaining(["listen", "acme", "backends", "hosts"]),
    );
    expect(schema.required).toEqual(["hosts"]);
    expect(stdout).not.toContain('"use"');
  });
});
