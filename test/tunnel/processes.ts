/** Skerry and wormholes as child processes on any runtime, for the suites that need the real thing. */
import { mkdtempSync, writeFileSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Answer, collectAnswer, target } from "../runtime/client.ts";
import { testCa } from "../support/ca.ts";
import { command, type EdgeProcess, type Runtime, skerry, startEdge } from "../support/edge.ts";
import { freePorts } from "../support/ports.ts";
import { type Child, ROOT, start } from "../support/processes.ts";

export const HOST = "app.example.test";

const RUNTIMES: readonly Runtime[] = ["node", "bun", "deno"];

/** Edge and agent: each runtime is each of them once, or with `TUNNEL_PAIRS=all` every one with every other. */
export const PAIRS: readonly (readonly [Runtime, Runtime])[] =
  process.env.TUNNEL_PAIRS === "all"
    ? RUNTIMES.flatMap((edge) => RUNTIMES.map((agent) => [edge, agent] as const))
    : [
        ["node", "node"],
        ["bun", "deno"],
        ["deno", "bun"],
      ];

export interface World {
  /** A Unix socket that leads to the edge's HTTPS port where that is in another network. */
  readonly way?: string;
  readonly edge: EdgeProcess;
  readonly config: string;
  readonly storage: string;
  readonly ca: string;
  /** A token of the backend "web". */
  readonly token: string;
  readonly tokenId: string;
}

/** An edge with one host, whose backend has no servers of its own, and a token for it. */
export async function world(
  runtime: Runtime,
  extra: { storage?: string; config?: object; port?: number; under?: readonly string[] } = {},
): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), "skerry-tunnel-"));
  const ca = await testCa();
  const pair = await ca.issueFor([HOST]);
  writeFileSync(join(folder, "key.pem"), pair.key, { mode: 0o600 });
  writeFileSync(join(folder, "cert.pem"), pair.chain);
  // Known beforehand, as tokens carry it and a second start must have it again.
  const port = extra.port ?? (await freePorts(1))[0]!;
  const storage = extra.storage ?? join(folder, "storage");
  const config = join(folder, "skerry.config.json");
  writeFileSync(
    config,
    JSON.stringify({
      listen: { http: "127.0.0.1:0", https: `127.0.0.1:${port}`, admin: "127.0.0.1:0" },
      storage: `file:${storage}`,
      tunnel: { address: `127.0.0.1:${port}` },
      backends: { web: {} },
      hosts: { [HOST]: { backend: "web", tls: { cert: "cert.pem", key: "key.pem" } } },
      drainTimeoutMs: 500,
      accessLog: false,
      ...extra.config,
    }),
  );
  const edge = await startEdge(runtime, config, { ...(extra.under && { under: extra.under }) });
  const { token, tokenId } = await newToken(runtime, config);
  return { edge, config, storage, ca: ca.rootPem, token, tokenId };
}

/** `skerry token create web`. */
export async function newToken(
  runtime: Runtime,
  config: string,
  ...args: string[]
): Promise<{ token: string; tokenId: string }> {
  const made = await skerry(runtime, ["token", "create", "web", "--config", config, ...args]);
  const token = /^WORMHOLE_TOKEN=(\S+)\n$/.exec(made.stdout)?.[1];
  const tokenId = /token ([0-9a-f]{16}) /.exec(made.stderr)?.[1];
  if (token === undefined || tokenId === undefined) throw new Error(`no token: ${made.output}`);
  return { token, tokenId };
}

/** `wormhole node app.ts`; the app's port is found by the agent unless given. */
export function wormhole(
  runtime: Runtime,
  token: string,
  name: string,
  options: {
    args?: readonly string[];
    env?: Record<string, string>;
    app?: readonly string[];
    under?: readonly string[];
  } = {},
): Child {
  const [program, ...before] = command(runtime, "src/cli/wormhole.ts");
  const app = options.app ?? ["node", join(ROOT, "test/tunnel/app.ts")];
  return start(program, [...before, ...(options.args ?? []), "--", ...app], {
    env: { WORMHOLE_TOKEN: token, SERVER_NAME: name, ...options.env },
    ...(options.under && { under: options.under }),
  });
}

/** Both connections are welcomed. */
export async function joined(agent: Child): Promise<void> {
  await agent.saw(/wormhole\.joined[\s\S]*wormhole\.joined/);
}

/** One request to the world's host, over HTTP/1.1. */
export function ask(
  { edge, ca, way }: Pick<World, "edge" | "ca" | "way">,
  path = "/",
  extra: {
    method?: string;
    body?: Uint8Array;
    headers?: Record<string, string>;
    agent?: https.Agent;
    /** Runs when the head of the answer is there. */
    answered?: () => void;
    /** Runs with the first bytes of the body. */
    begun?: () => void;
  } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = https.request({
      ...target({ port: edge.https.port, host: HOST, ca, path, ...extra }),
      agent: extra.agent ?? false,
      ...(way !== undefined && { socketPath: way }),
    });
    request.setTimeout(20_000, () => request.destroy(new Error(`${path}: no answer in time`)));
    request.on("error", reject);
    request.on("response", (response) => {
      extra.answered?.();
      if (extra.begun) response.once("data", extra.begun);
      collectAnswer(response).then(resolve, reject);
    });
    request.end(extra.body);
  });
}
