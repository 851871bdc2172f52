/** What a wormhole runs on: its flags, and the environment, which comes first in containers. */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import { EdgeError } from "../errors.ts";
import type { Target } from "../tunnel/link.ts";
import { parseAuthority, type Release } from "../tunnel/protocol.ts";

export const WORMHOLE_HELP = `Usage: wormhole [options] [--] COMMAND…

Starts COMMAND, waits until it answers, and joins the backend of the token: requests then come through connections that
this process makes to the edges, so no port needs to be open. It leaves when it is told to stop, or when COMMAND ends.
Without COMMAND it fronts a target that runs elsewhere.

Options:
  --token TOKEN     what "skerry token create" printed; better in WORMHOLE_TOKEN
  --target ADDRESS  where COMMAND answers, host:port (WORMHOLE_TARGET; else 127.0.0.1:$PORT; else the port it opens)
  --health PATH     asked before joining and every 5 s; 200-399 is good (WORMHOLE_HEALTH; else a connection will do)
  --edge ADDRESS    the edge to dial in place of the token's, host:port (WORMHOLE_EDGE)
  --name NAME       names the server in logs and metrics (WORMHOLE_NAME, SERVER_NAME; else the host name)
  --location PLACE  where this runs: edges there prefer it (WORMHOLE_LOCATION; else FLY_REGION or
                    RAILWAY_REPLICA_REGION)
  --label K=V       for operators; may be repeated (WORMHOLE_LABELS=K=V,K=V)
  --grace SECONDS   how long requests in flight may take after a stop was asked for (WORMHOLE_GRACE; default 25)
  --restart         start COMMAND again when it ends, after a while that grows
  --config FILE     accepted by every command; not read here
  -V, --version     print the version
  -h, --help        print this

Exits as COMMAND did, with 128 and the signal's number where one killed it; 1 when the token was refused; 2 for usage.

Example:
  WORMHOLE_TOKEN=… wormhole node index.js
`;

export interface WormholeOptions {
  readonly token: string;
  readonly target: Target | undefined;
  readonly health: string | undefined;
  readonly edge: string | undefined;
  readonly name: string;
  readonly instance: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly location: string | undefined;
  readonly release: Release;
  readonly graceMs: number;
  readonly restart: boolean;
  readonly command: readonly string[];
}

type Environment = Readonly<Record<string, string | undefined>>;

const usage = (message: string): EdgeError => new EdgeError("USAGE", message, { source: "operator" });

/** A flag's value, or the first of the variables that is set and not empty. */
function firstOf(flag: string | undefined, env: Environment, ...names: string[]): string | undefined {
  return flag ?? names.map((name) => env[name]).find((value) => value !== undefined && value !== "");
}

/** @throws EdgeError USAGE. `"help"` and `"version"` where these were asked for. */
export function wormholeOptions(
  args: readonly string[],
  env: Environment,
): WormholeOptions | "help" | "version" {
  const flags = new Map<string, string>();
  const labels: Record<string, string> = {};
  let restart = false;
  let at = 0;
  for (; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === "--") {
      at++;
      break;
    }
    if (!arg.startsWith("-")) break;
    if (arg === "-h" || arg === "--help") return "help";
    if (arg === "-V" || arg === "--version") return "version";
    if (arg === "--restart") {
      restart = true;
      continue;
    }
    const [, name = "", inline] = /^--?([\w-]+)(?:=(.*))?$/s.exec(arg) ?? [];
    const known = ["token", "target", "health", "edge", "name", "location", "label", "grace", "config", "c"];
    if (!known.includes(name)) throw usage(`unknown option ${arg.split("=")[0]}; see --help`);
    const value = inline ?? args[++at];
    if (value === undefined) throw usage(`--${name} needs a value; see --help`);
    if (name === "label") addLabels(labels, value);
    else flags.set(name, value);
  }
  const token = firstOf(flags.get("token"), env, "WORMHOLE_TOKEN", "FLY_TOKEN");
  if (token === undefined)
    throw usage('no token: set WORMHOLE_TOKEN to what "skerry token create BACKEND" printed');
  const fromEnv: Record<string, string> = {};
  if (env.WORMHOLE_LABELS) for (const pair of env.WORMHOLE_LABELS.split(",")) addLabels(fromEnv, pair);
  const health = firstOf(flags.get("health"), env, "WORMHOLE_HEALTH");
  if (health !== undefined && !/^\/[!-~]*$/.test(health))
    throw usage(`--health takes a path, not ${JSON.stringify(health)}`);
  const grace = Number(firstOf(flags.get("grace"), env, "WORMHOLE_GRACE") ?? 25);
  if (!(grace >= 0 && grace <= 86_400)) throw usage("--grace takes seconds");
  return {
    token,
    target: targetOf(firstOf(flags.get("target"), env, "WORMHOLE_TARGET"), env),
    health,
    edge: firstOf(flags.get("edge"), env, "WORMHOLE_EDGE"),
    name: firstOf(flags.get("name"), env, "WORMHOLE_NAME", "SERVER_NAME") ?? hostname(),
    instance: firstOf(undefined, env, "WORMHOLE_INSTANCE") ?? randomBytes(8).toString("hex"),
    labels: { ...fromEnv, ...labels },
    location: locationOf(flags.get("location"), env),
    release: releaseOf(env),
    graceMs: grace * 1000,
    restart,
    command: args.slice(at),
  };
}

/** What platforms leave in the environment will do, as it does for edges: `config/location.ts` reads the same. */
function locationOf(flag: string | undefined, env: Environment): string | undefined {
  const regions = ["WORMHOLE_LOCATION", "FLY_REGION", "RAILWAY_REPLICA_REGION"];
  const location = firstOf(flag, env, ...regions)?.trim();
  if (location === undefined || location === "") return undefined;
  if (/^[ -~]{1,63}$/.test(location)) return location;
  throw usage(`a location is at most 63 letters and digits, not ${JSON.stringify(location)}`);
}

function addLabels(labels: Record<string, string>, pair: string): void {
  const [, name, value] = /^([\w.-]+)=(.*)$/s.exec(pair.trim()) ?? [];
  if (name === undefined || value === undefined)
    throw usage(`a label is name=value, not ${JSON.stringify(pair)}`);
  labels[name] = value;
}

function targetOf(written: string | undefined, env: Environment): Target | undefined {
  const { PORT, FLY_LOCAL_ENDPOINT, FLY_PORT } = env;
  const address =
    written ??
    (PORT ? `127.0.0.1:${PORT}` : FLY_LOCAL_ENDPOINT || (FLY_PORT ? `127.0.0.1:${FLY_PORT}` : undefined));
  if (address === undefined) return undefined;
  const target = parseAuthority(/^\d+$/.test(address) ? `127.0.0.1:${address}` : address);
  if (!target) throw usage(`the target is not host:port: ${JSON.stringify(address)}`);
  return target;
}

/** Whatever platforms and build systems leave in the environment. */
function releaseOf(env: Environment): Release {
  const sha = firstOf(
    undefined,
    env,
    "WORMHOLE_RELEASE",
    "GIT_SHA",
    "GITHUB_SHA",
    "SOURCE_VERSION",
    "COMMIT_SHA",
  );
  const branch = firstOf(undefined, env, "WORMHOLE_BRANCH", "GIT_BRANCH", "GITHUB_REF_NAME");
  const image = firstOf(undefined, env, "WORMHOLE_IMAGE", "FLY_IMAGE_REF");
  return {
    ...(sha !== undefined && { sha }),
    ...(branch !== undefined && { branch }),
    ...(image !== undefined && { image }),
  };
}
