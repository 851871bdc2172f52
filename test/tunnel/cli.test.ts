import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { wormholeOptions } from "../../src/cli/wormhole-options.ts";
import { command, type Runtime, skerry } from "../support/edge.ts";
import { eventually, run, start } from "../support/processes.ts";
import { startRelay } from "../support/relay.ts";
import { ask, joined, newToken, type World, world, wormhole } from "./processes.ts";

let at: World;
beforeAll(async () => {
  at = await world("node");
});
afterAll(async () => {
  await at.edge.stop();
});

describe("skerry token", () => {
  test("keeps a hash, lists no secret, and says nothing of it in the edge's log", async () => {
    const { token, tokenId } = await newToken("node", at.config, "--expires", "30d");
    const secret = (JSON.parse(Buffer.from(token.slice(5), "base64url").toString()) as { s: string }).s;
    expect(Buffer.from(secret, "base64url").length).toBe(32);
    const stored = readdirSync(at.storage, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"))
      .join("\n");
    expect(stored).toContain(tokenId);
    expect(stored).not.toContain(secret);
    const { stdout } = await skerry("node", ["token", "list", "--json", "--config", at.config]);
    const listed = (JSON.parse(stdout) as { id: string; backend: string; expires: string }[]).find(
      ({ id }) => id === tokenId,
    );
    expect(listed).toMatchObject({ id: tokenId, backend: "web" });
    expect(Date.parse(listed?.expires ?? "") - Date.now()).toBeGreaterThan(29 * 86_400_000);
    expect(stdout + at.edge.process.output()).not.toContain(secret);
  });

  test.skipIf(process.getuid?.() !== 0).each<Runtime>(["node", "bun", "deno"])(
    "by root writes as the storage's owner, whose edge must read it (%s; needs root)",
    async (runtime) => {
      const nobody = 65_534;
      const folder = mkdtempSync(join(tmpdir(), "skerry-owner-"));
      chmodSync(folder, 0o755);
      const storage = join(folder, "storage");
      mkdirSync(storage, { mode: 0o700 });
      chownSync(storage, nobody, nobody);
      await newToken(runtime, at.config, "--storage", storage);
      const made = readdirSync(storage, { recursive: true, encoding: "utf8" });
      expect(made.some((path) => path.startsWith("tokens/"))).toBe(true);
      expect(made.filter((path) => statSync(join(storage, path)).uid !== nobody)).toEqual([]);
    },
  );

  test("refuses a backend that the config has not, and an odd lifetime", async () => {
    const unknown = await skerry("node", ["token", "create", "nope", "--config", at.config]);
    expect([unknown.code, unknown.stderr]).toEqual([
      2,
      'skerry: the config has no backend "nope"; it has: web\n',
    ]);
    const odd = await skerry("node", ["token", "create", "web", "--expires", "soon", "--config", at.config]);
    expect(odd.code).toBe(2);
  });

  test("revoke cuts live sessions within a second, and the agent says so and goes on trying", async () => {
    const { token, tokenId } = await newToken("node", at.config);
    const agent = wormhole("node", token, "statler");
    await joined(agent);
    expect((await ask(at)).body).toBe("statler");
    expect((await skerry("node", ["token", "revoke", tokenId, "--config", at.config])).code).toBe(0);
    await eventually("nobody answers", async () => (await ask(at)).status === 503, 5000);
    await agent.saw(/"level":"error"[^\n]*wormhole\.rejected[^\n]*revoked/);
    expect(agent.running()).toBe(true);
    await eventually("the edge says so", () => at.edge.logs("tunnel.left").length > 0);
    expect((await agent.stop()).code).toBe(0);
    expect((await skerry("node", ["token", "revoke", tokenId, "--config", at.config])).code).toBe(2);
  });
});

describe("wormhole", () => {
  test("with a token that never joined says so and exits non-zero, without leaving its command behind", async () => {
    const { token, tokenId } = await newToken("node", at.config);
    await skerry("node", ["token", "revoke", tokenId, "--config", at.config]);
    const agent = wormhole("node", token, "statler");
    expect((await agent.ended).code).toBe(1);
    expect(agent.stderr()).toContain("unknown or was revoked");
    expect(agent.output()).not.toContain(token);
  });

  test("tells the token to nobody but the edge that it was made for", async () => {
    const other = await world("node");
    try {
      const agent = wormhole("node", other.token, "statler", {
        env: { WORMHOLE_EDGE: `127.0.0.1:${at.edge.https.port}` },
      });
      await agent.saw(/wormhole\.unreachable[^\n]*not the edge that this token was made for/);
      expect(at.edge.process.output()).not.toContain(other.tokenId);
      expect(agent.output()).not.toContain("wormhole.joined");
      await agent.stop();
    } finally {
      await other.edge.stop();
    }
  });

  test("that finds one edge by two addresses keeps one of them, and says so once", async () => {
    const relay = await startRelay({ port: at.edge.https.port });
    const agent = wormhole("node", at.token, "statler", { args: ["--edge", `127.0.0.1:${relay.port}`] });
    await agent.saw(/"info"[^\n]*wormhole\.same_edge/);
    // Both connections by that address come to the same end.
    await eventually("the other address is let go", async () => {
      const { port } = at.edge.admin;
      const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      return /skerry_tunnel_sessions 2$/m.test(metrics);
    });
    expect((await ask(at)).body).toBe("statler");
    expect((await agent.stop()).code).toBe(0);
    expect(agent.stderr().split("wormhole.same_edge").length - 1).toBe(1);
    expect(agent.stderr().split("wormhole.joined").length - 1).toBe(2);
    expect(agent.stderr()).not.toMatch(/wormhole\.(rejected|lost)/);
    await relay.close();
  });

  test("exits as its command does, 128 and the signal where one killed it, 127 where there is none", async () => {
    for (const [app, code] of [
      [["sh", "-c", "exit 7"], 7],
      [["sh", "-c", "kill -9 $$"], 137],
      [["no-such-program-here"], 127],
    ] as const)
      expect((await wormhole("node", at.token, "x", { app }).ended).code).toBe(code);
  });

  test("starts its command by its arguments, not through a shell, and keeps the token from it", async () => {
    const script = "console.log(JSON.stringify([process.argv.slice(1), 'WORMHOLE_TOKEN' in process.env]))";
    const agent = wormhole("node", at.token, "x", { app: ["node", "-e", script, "a b", "$HOME", "--flag"] });
    await agent.ended;
    expect(agent.stdout()).toBe(`${JSON.stringify([["a b", "$HOME", "--flag"], false])}\n`);
  });

  test("forwards signals", async () => {
    const script =
      "process.on('SIGUSR2', () => { console.log('heard'); process.exit(3); }); console.log('up'); setInterval(() => {}, 1000)";
    const agent = wormhole("node", at.token, "x", { app: ["node", "-e", script] });
    await agent.saw(/^up$/m);
    agent.signal("SIGUSR2");
    expect((await agent.ended).code).toBe(3);
    expect(agent.stdout()).toContain("heard");
  });

  test("starts its command again where asked to", async () => {
    const agent = wormhole("node", at.token, "statler", { args: ["--restart"] });
    const first = await agent.saw(/app statler (\d+)/);
    await joined(agent);
    const [pid] = readFileSync(`/proc/${agent.pid}/task/${agent.pid}/children`, "utf8").trim().split(" ");
    process.kill(Number(pid), "SIGKILL");
    // What the command writes and what the agent writes come by pipes of their own, in no order.
    await agent.saw(/app statler[\s\S]*app statler/);
    await agent.saw(/command_ended[\s\S]*wormhole\.joined/);
    expect(first).toBeDefined();
    expect((await ask(at)).body).toBe("statler");
    expect((await agent.stop()).code).toBe(0);
  });

  test("joins only once the health path is good, and without a command fronts what runs elsewhere", async () => {
    const [program, ...before] = command("node", "src/cli/wormhole.ts");
    const app = start("node", ["test/tunnel/app.ts"], { env: { SERVER_NAME: "elsewhere" } });
    const port = (await app.saw(/app elsewhere (\d+)/))[1]!;
    const env = { WORMHOLE_TOKEN: at.token, WORMHOLE_TARGET: `127.0.0.1:${port}` };
    const sick = start(program, [...before, "--health", "/sick"], { env });
    const good = start(program, [...before, "--health", "/"], { env });
    await joined(good);
    // Until its handlers are there, a signal ends it as any process.
    await sick.saw(/"wormhole\.started"/);
    expect((await ask(at)).body).toBe("elsewhere");
    expect(sick.output()).not.toContain("joined");
    expect((await good.stop()).code).toBe(0);
    expect((await sick.stop()).code).toBe(0);
    await app.stop();
  });

  test("usage is told in one line", async () => {
    const [program, ...before] = command("node", "src/cli/wormhole.ts");
    const bare = await run(program, [...before, "node"], { env: { WORMHOLE_TOKEN: "" } });
    expect([bare.code, bare.stderr]).toEqual([
      2,
      'wormhole: no token: set WORMHOLE_TOKEN to what "skerry token create BACKEND" printed\n',
    ]);
    const odd = await run(program, [...before, "node"], { env: { WORMHOLE_TOKEN: "wht1_secret" } });
    expect(odd.code).toBe(2);
    expect(odd.stderr).not.toContain("secret");
    const help = await skerry("node", ["wormhole", "--help"]);
    expect([help.code, help.stdout.split("\n")[0]]).toEqual([0, "Usage: wormhole [options] [--] COMMAND…"]);
  });
});

describe("the environment", () => {
  const of = (env: Record<string, string>, ...args: string[]) => {
    const options = wormholeOptions(args, { WORMHOLE_TOKEN: "t", ...env });
    if (typeof options === "string") throw new Error(options);
    return options;
  };

  test("says where the target is, the newer names first", () => {
    expect(of({ PORT: "3000" }).target).toEqual({ host: "127.0.0.1", port: 3000 });
    expect(of({ PORT: "3000", WORMHOLE_TARGET: "app:80" }).target).toEqual({ host: "app", port: 80 });
    expect(of({ FLY_PORT: "5000" }).target).toEqual({ host: "127.0.0.1", port: 5000 });
    expect(of({ FLY_LOCAL_ENDPOINT: "[::1]:5000", FLY_PORT: "1" }).target).toEqual({
      host: "::1",
      port: 5000,
    });
    expect(of({}).target).toBeUndefined();
  });

  test.each([
    [{ WORMHOLE_LOCATION: "fra" }, ["--location", "yvr"], "yvr"],
    [{ WORMHOLE_LOCATION: "fra", FLY_REGION: "sea" }, [], "fra"],
    [{ FLY_REGION: "sea" }, [], "sea"],
    [{ RAILWAY_REPLICA_REGION: "us-west2" }, [], "us-west2"],
    [{}, [], undefined],
  ] as [Record<string, string>, string[], string | undefined][])(
    "%j with %j runs in %s",
    (env, args, location) => {
      expect(of(env, ...args).location).toBe(location);
    },
  );

  test("refuses a location that no header may hold", () => {
    expect(() => of({ WORMHOLE_LOCATION: "a\nb" })).toThrow(/location/);
  });

  test("names the server, labels it and says its release", () => {
    const options = of(
      { SERVER_NAME: "statler", WORMHOLE_LABELS: "zone=a,size=s", GITHUB_SHA: "abc" },
      "--label",
      "size=xl",
      "node",
      "--label",
    );
    expect(options.name).toBe("statler");
    expect(options.labels).toEqual({ zone: "a", size: "xl" });
    expect(options.release).toEqual({ sha: "abc" });
    expect(options.command).toEqual(["node", "--label"]);
  });

  test("understands FLY_TOKEN", () => {
    const options = wormholeOptions([], { FLY_TOKEN: "f" });
    expect(typeof options === "string" ? options : options.token).toBe("f");
  });
});
