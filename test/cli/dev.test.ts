/** `skerry dev` as a person meets it: start, paste the line it prints, Ctrl-C. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { command } from "../support/edge.ts";
import { freePort } from "../support/ports.ts";
import { type Child, eventually, ROOT, run, start } from "../support/processes.ts";

const newFolder = (): string => mkdtempSync(join(tmpdir(), "skerry-dev-"));

/** The processes that a process started, by their command lines. */
function childrenOf(pid: number): string[] {
  return readdirSync("/proc").flatMap((entry) => {
    try {
      const status = readFileSync(`/proc/${entry}/status`, "utf8");
      const parent = /^PPid:\s+(\d+)$/m.exec(status)?.[1];
      return Number(parent) === pid ? [readFileSync(`/proc/${entry}/cmdline`, "utf8")] : [];
    } catch {
      return []; // No process, or one that ended meanwhile.
    }
  });
}

function curl(line: string, cwd: string): string {
  const [program, ...args] = line.trim().split(" ");
  return execFileSync(program!, ["--silent", "--show-error", "--max-time", "10", ...args], {
    cwd,
    encoding: "utf8",
  });
}

describe.each(["node", "bun", "deno"] as const)("on %s", (runtime) => {
  const dev = (cwd: string, ...args: string[]): Child => {
    const [program, ...before] = command(runtime, "src/cli/skerry.ts");
    return start(program, [...before, "dev", ...args], { cwd });
  };
  const pasted = async (child: Child): Promise<string> => (await child.saw(/^ {2}(curl .+)$/m))[1]!;

  test("the line it prints reaches both sample containers, and Ctrl-C ends everything with 0", async () => {
    const cwd = newFolder();
    const child = dev(cwd);
    const line = await pasted(child);
    expect(line).toMatch(/^curl --cacert certs\/dev\/ca\.pem https:\/\/localhost:\d+\/$/);
    // The balancer prefers the faster one, so how soon the other is asked is up to the machine.
    const answers = new Set<string>();
    for (let asked = 0; asked < 200 && answers.size < 2; asked++) answers.add(curl(line, cwd));
    expect(answers).toEqual(new Set(["You have reached statler\n", "You have reached waldorf\n"]));
    await child.saw(/^\d\d:\d\d:\d\d GET localhost\/ 200 .*→ (statler|waldorf)$/m);
    const samples = childrenOf(child.pid);
    expect(samples.filter((line) => line.includes("sample-server"))).toHaveLength(2);
    expect(await child.stop("SIGINT")).toEqual({ code: 0, signal: undefined });
    expect(child.stderr()).toBe("");
  });

  test("its authority outlives it, readable by its owner only", async () => {
    const cwd = newFolder();
    const first = dev(cwd);
    await pasted(first);
    const root = readFileSync(join(cwd, "certs/dev/ca.pem"), "utf8");
    await first.stop("SIGINT");
    const second = dev(cwd);
    await pasted(second);
    expect(readFileSync(join(cwd, "certs/dev/ca.pem"), "utf8")).toBe(root);
    expect(statSync(join(cwd, "certs/dev/hosts/localhost.key")).mode & 0o777).toBe(0o600);
    await second.stop("SIGINT");
  });

  test("whoever read what it prints may leave: it answers on, and Ctrl-C ends it with 0", async () => {
    const cwd = newFolder();
    const [program, ...before] = command(runtime, "src/cli/skerry.ts");
    const child = spawn(program, [...before, "dev"], { cwd, stdio: ["ignore", "pipe", "pipe"] });
    try {
      let said = "";
      const line = await new Promise<string>((resolve, reject) => {
        child.stdout.on("data", (chunk: Buffer) => {
          said += chunk;
          const found = /^ {2}(curl .+)$[\s\S]*Ctrl-C/m.exec(said)?.[1];
          if (found) resolve(found);
        });
        child.on("exit", () => reject(new Error(`ended: ${said}`)));
      });
      child.stdout.destroy();
      child.stderr.destroy();
      for (let asked = 0; asked < 5; asked++) expect(curl(line, cwd)).toMatch(/^You have reached/);
      const ended = once(child, "exit");
      child.kill("SIGINT");
      expect(await ended).toEqual([0, null]);
    } finally {
      child.kill("SIGKILL");
    }
  });

  test("two of them run side by side", async () => {
    const cwd = newFolder();
    const first = dev(cwd);
    const one = await pasted(first);
    const other = dev(cwd);
    const two = await pasted(other);
    expect(two).not.toBe(one);
    expect(curl(one, cwd)).toMatch(/^You have reached/);
    expect(curl(two, cwd)).toMatch(/^You have reached/);
    await Promise.all([first.stop("SIGINT"), other.stop("SIGINT")]);
  });

  test("a port that was asked for and is busy is an error", async () => {
    const cwd = newFolder();
    const first = dev(cwd);
    const port = /localhost:(\d+)/.exec(await pasted(first))![1];
    const [program, ...before] = command(runtime, "src/cli/skerry.ts");
    const second = await run(program, [...before, "dev", "--https", `127.0.0.1:${port}`], { cwd });
    expect(second.stderr).toMatch(new RegExp(`^skerry: .*127\\.0\\.0\\.1:${port}.*\\n$`));
    expect(second.code).toBe(1);
    await first.stop("SIGINT");
  });

  test("killed outright, it leaves no sample container behind", async () => {
    const child = dev(newFolder());
    await pasted(child);
    const pids = readdirSync("/proc").filter((entry) => {
      const path = `/proc/${entry}/status`;
      return (
        /^\d+$/.test(entry) &&
        existsSync(path) &&
        readFileSync(path, "utf8").includes(`PPid:\t${child.pid}\n`)
      );
    });
    expect(pids).toHaveLength(2);
    await child.stop("SIGKILL");
    await eventually("the sample containers are gone", () =>
      pids.every((pid) => !existsSync(`/proc/${pid}`)),
    );
  });

  test("with a config it serves that file's hosts, and reads it again on SIGHUP", async () => {
    const cwd = newFolder();
    const port = await freePort();
    const write = (host: string): void =>
      writeFileSync(
        join(cwd, "edge.ts"),
        `import { Hono } from "hono";
export default {
  listen: { http: "127.0.0.1:0", https: "127.0.0.1:${port}", admin: "127.0.0.1:0" },
  hosts: { "${host}": new Hono().get("/", (c) => c.text("hello from ${host}\\n")) },
};
`,
      );
    write("one.example.com");
    const child = dev(cwd, "--config", "edge.ts");
    const line = await pasted(child);
    expect(line).toBe(
      `curl --cacert certs/dev/ca.pem --resolve one.example.com:${port}:127.0.0.1 https://one.example.com:${port}/`,
    );
    expect(curl(line, cwd)).toBe("hello from one.example.com\n");
    write("two.example.com");
    child.signal("SIGHUP");
    await child.saw(/edge\.reloaded/);
    expect(curl(line.replaceAll("one.", "two."), cwd)).toBe("hello from two.example.com\n");
    writeFileSync(join(cwd, "edge.ts"), "export default {{;");
    child.signal("SIGHUP");
    await child.saw(/config\.refused .*edge\.ts:1/);
    expect(curl(line.replaceAll("one.", "two."), cwd)).toBe("hello from two.example.com\n");
    expect(await child.stop("SIGINT")).toEqual({ code: 0, signal: undefined });
  });

  test("a container joins a backend without servers by the lines that it prints", async () => {
    const cwd = newFolder();
    writeFileSync(
      join(cwd, "edge.json"),
      JSON.stringify({
        listen: { http: "127.0.0.1:0", https: `127.0.0.1:${await freePort()}`, admin: "127.0.0.1:0" },
        backends: { web: {} },
        hosts: { "one.example.com": { backend: "web" } },
      }),
    );
    const child = dev(cwd, "--config", "edge.json");
    const [, token, wormhole] = await child.saw(/^ {2}(export .+)\n {2}(.+ wormhole )COMMAND$/m);
    const app = start("sh", ["-c", `${token} && exec ${wormhole} node ${join(ROOT, "test/tunnel/app.ts")}`], {
      cwd,
      env: { SERVER_NAME: "statler" },
    });
    await app.saw(/wormhole\.joined[\s\S]*wormhole\.joined/);
    expect(curl(await pasted(child), cwd)).toBe("statler");
    expect((await app.stop()).code).toBe(0);
    expect(await child.stop("SIGINT")).toEqual({ code: 0, signal: undefined });
    // It is told of no other edge: the host's own name leads to where it is served in earnest.
    expect(app.output()).not.toContain("wormhole.unresolved");
  }, 60_000);
});
