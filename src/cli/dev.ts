import { relative, resolve } from "node:path";
import { type Command, Option } from "commander";
import { systemClock } from "../clock.ts";
import type { ListenAddress, ResolvedConfig } from "../config/config.ts";
import { type ConfigSource, readConfig, resolveSource } from "../config/load.ts";
import { formatAddress, parseAddress } from "../config/parse.ts";
import { resolveConfig } from "../config/resolve.ts";
import { EdgeError } from "../errors.ts";
import { silentLog } from "../log.ts";
import { runtimeName } from "../runtime.ts";
import { LISTEN_FIELDS, type ListenFlags, listenFlags, storageFlag } from "./flags.ts";
import { freeAddress } from "./free-address.ts";
import { humanLog } from "./human-log.ts";
import { runEdge } from "./run.ts";
import { type SampleServer, startSample } from "./samples.ts";

const DEV_LISTEN = { http: "127.0.0.1:8080", https: "127.0.0.1:8443", admin: "127.0.0.1:9180" } as const;

/** Statler and Waldorf sit in the same box and answer to the same name. */
const SAMPLES = ["statler", "waldorf"] as const;

const SAMPLE_BACKEND = "critics";

const LISTEN_ATTEMPTS = 3;

/** Somebody waits at the terminal. */
const DEV_DRAIN_MS = 2_000;

interface DevOptions extends ListenFlags {
  config?: string;
  storage?: string;
  json?: boolean;
}

export function addDev(program: Command, exit: (code: number) => void): void {
  const command = program
    .command("dev")
    .summary("try everything on this machine")
    .description(
      "Serves https://localhost with a certificate of a local authority and two sample containers behind it; needs no " +
        "DNS, no Internet and no privilege. With --config it serves that file's hosts instead, with local certificates.",
    )
    .option("-c, --config <file>", "a config file whose hosts to serve")
    .option("--storage <folder>", 'where the local authority is kept (default: "certs/dev")', storageFlag);
  listenFlags(command, DEV_LISTEN)
    .addOption(new Option("--json", "log JSON lines instead of short ones"))
    .addHelpText(
      "after",
      "\nExamples:\n  skerry dev\n  skerry dev --config skerry.config.ts --https 127.0.0.1:9443",
    )
    .action(async (options: DevOptions) => exit(await dev(options)));
}

async function dev(options: DevOptions): Promise<number> {
  const { config: file } = options;
  const source = file === undefined ? undefined : await readConfig(file);
  const samples = source ? [] : await Promise.all(SAMPLES.map((name) => startSample(name)));
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        return await devOnce(options, source, samples);
      } catch (error) {
        // Another program may have taken a port after it was found free; the next attempt finds another.
        const busy = error instanceof EdgeError && error.code === "LISTEN_FAILED";
        if (!busy || attempt === LISTEN_ATTEMPTS) throw error;
      }
    }
  } finally {
    await Promise.all(samples.map((sample) => sample.stop()));
  }
}

async function devOnce(
  options: DevOptions,
  source: ConfigSource | undefined,
  samples: readonly SampleServer[],
): Promise<number> {
  const say = (line: string): void => void process.stdout.write(line);
  const { config: file } = options;
  const moved: string[] = [];
  const listen = await devListen(options, source?.input, moved);
  const configOf = (from: ConfigSource | undefined) => devConfig(from, options, listen, samples);
  const { config, caPath } = await configOf(source);
  const names = new Map(samples.map(({ url, name }) => [url, name]));
  return runEdge(config, {
    ...(file !== undefined && { reload: async () => (await configOf(await readConfig(file))).config }),
    ...(!options.json && {
      // Of other edges it knows its own last run at the most, where that was killed.
      log: humanLog({
        clock: systemClock,
        write: say,
        names,
        without: "fleet.edge_",
        least: config.logLevel,
      }),
    }),
    onStart: ({ addresses }) => {
      if (!options.json) say(welcome(options, config, addresses, caPath, moved));
    },
  });
}

interface DevConfig {
  readonly config: ResolvedConfig;
  readonly caPath: string;
}

type Listen = ResolvedConfig["listen"];

async function devConfig(
  source: ConfigSource | undefined,
  options: DevOptions,
  listen: Listen,
  samples: readonly SampleServer[],
): Promise<DevConfig> {
  const resolved = source
    ? resolveSource(source, { certificates: "local" })
    : resolveConfig(
        {
          location: "local",
          backends: { [SAMPLE_BACKEND]: { servers: samples.map(({ url }) => url) } },
          hosts: { localhost: { backend: SAMPLE_BACKEND } },
        },
        { certificates: "local" },
      );
  if (resolved.hosts.size === 0)
    throw new EdgeError(
      "USAGE",
      'hosts: empty; skerry dev serves the hosts of the file: add one, such as "app.example.com": { backend: "web" }',
      { source: "operator" },
    );
  const folder = resolve(storageFolder(options.storage ?? "file:certs/dev"));
  // Loaded here, so that other commands do not wait for X.509.
  const { devCertificates } = await import("./dev-certificates.ts");
  const { caPath, hosts } = await devCertificates(folder, resolved.hosts, {
    clock: systemClock,
    log: silentLog,
  });
  const config = {
    ...resolved,
    listen,
    storage: `file:${folder}`,
    tunnel: { address: dialled(listen.https, source?.input) },
    hosts,
    drainTimeoutMs: Math.min(resolved.drainTimeoutMs, DEV_DRAIN_MS),
  };
  return { config, caPath };
}

/** The local authority is files that other programs read, so nothing else than a folder will do. */
function storageFolder(storage: string): string {
  if (storage.startsWith("file:")) return storage.slice("file:".length);
  throw new EdgeError("USAGE", `--storage: skerry dev keeps its authority in a folder, not in ${storage}`, {
    source: "operator",
  });
}

/** The flag, else what the file says, else a port that needs no privilege: the next free one where it is busy. */
async function devListen(flags: ListenFlags, input: unknown, moved: string[]): Promise<Listen> {
  const written = (input as { listen?: ListenFlags } | null | undefined)?.listen;
  const chosen: Partial<Record<keyof Listen, ListenAddress>> = {};
  for (const field of LISTEN_FIELDS) {
    const wish = flags[field] ?? written?.[field];
    const parsed = parseAddress(wish ?? DEV_LISTEN[field]);
    // A wish of the wrong form is reported with the rest of the config.
    if ("problem" in parsed) continue;
    const address = wish === undefined ? await freeAddress(parsed.value) : parsed.value;
    if (address.port !== parsed.value.port) moved.push(`${formatAddress(parsed.value)} is busy`);
    chosen[field] = address;
  }
  return chosen as Listen;
}

/** What agents dial: as the file says, or here. A host's own name leads to where it is served in earnest. */
function dialled({ host, port }: ListenAddress, input: unknown): string | undefined {
  const written = (input as { tunnel?: { address?: string } } | null | undefined)?.tunnel?.address;
  if (written !== undefined || port === 0) return written;
  return formatAddress({ host: host === "::" || host === "0.0.0.0" ? "127.0.0.1" : host, port });
}

/** How this program is run, for lines to paste. */
function ourselves(): string {
  const program = process.argv[1] ?? "";
  if (!program.endsWith(".ts")) return "skerry";
  const by = runtimeName === "deno" ? "deno run -A" : runtimeName;
  return `${by} ${relative(process.cwd(), program)}`;
}

/** What to do next, with lines that work when pasted. */
function welcome(
  { config: file, storage = "certs/dev" }: DevOptions,
  config: ResolvedConfig,
  at: Listen,
  caPath: string,
  moved: readonly string[],
): string {
  const ca = relative(process.cwd(), caPath);
  const { port } = at.https;
  const dial = config.tunnel.address ?? dialled(at.https, undefined);
  const curls = [...config.hosts.keys()].slice(0, 3).map((host) => {
    const resolves = host === "localhost" ? "" : ` --resolve ${host}:${port}:127.0.0.1`;
    return `  curl --cacert ${/\s/.test(ca) ? JSON.stringify(ca) : ca}${resolves} https://${host}:${port}/`;
  });
  const empty = [...config.backends].filter(([, { servers }]) => servers.length === 0).map(([name]) => name);
  return [
    "",
    "Skerry is up.",
    ...(moved.length > 0 ? [`(${moved.join(", ")}: using other ports)`] : []),
    "",
    file === undefined ? "Paste this a few times; statler and waldorf share the answers:" : "Try:",
    "",
    ...curls,
    "",
    `  https      ${formatAddress(at.https)}   trust ${ca} in a browser to open it there`,
    `  http       ${formatAddress(at.http)}`,
    `  metrics    http://${formatAddress(at.admin)}/metrics`,
    ...(file === undefined
      ? []
      : empty.flatMap((backend) => [
          "",
          `Backend ${backend} has no servers yet; they join by wormholes, with a token:`,
          "",
          `  export "$(${ourselves()} token create ${backend} --config ${file} --storage ${storage} --address ${dial})"`,
          `  ${ourselves()} wormhole COMMAND`,
        ])),
    "",
    "Ctrl-C ends it.",
    "",
    "",
  ].join("\n");
}
