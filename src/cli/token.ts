import { X509Certificate } from "node:crypto";
import { type Command, InvalidArgumentError } from "commander";
import { systemClock } from "../clock.ts";
import type { ResolvedConfig } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { parseDialAddress } from "../config/tunnel.ts";
import { createDynamicBook } from "../edge/dynamic-book.ts";
import { EdgeError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { openTunnelIdentity } from "../tls/tunnel-identity.ts";
import { TUNNEL_NAME } from "../tunnel/protocol.ts";
import { pinOf } from "../tunnel/token.ts";
import { createTokenBook, type TokenBook } from "../tunnel/token-book.ts";
import { type PlaceOptions, placeFlags } from "./flags.ts";
import { say, sayJson } from "./say.ts";
import { asOwnerOf } from "./storage.ts";

interface CreateOptions extends PlaceOptions {
  expires?: number;
  address?: string;
  publicCa?: boolean;
}

export function addToken(program: Command): void {
  const token = program.command("token").summary("let containers join by wormholes");
  placeFlags(
    token
      .command("create <backend>")
      .summary("make a token for a backend")
      .description(
        "Makes a token with which containers join a backend, and prints it once. It carries the address to dial and the " +
          "digest of the edge's tunnel certificate; the edge keeps only a hash. Works whether the edge runs or not.",
      ),
  )
    .option("--expires <time>", "such as 30d, 12h, 45m (default: never)", lifetime)
    .option("--address <address>", "what agents dial (default: tunnel.address of the config)", dialAddress)
    .option("--public-ca", "verify the edge by its host's public certificate instead of the pin")
    .addHelpText("after", "\nExample:\n  skerry token create web --expires 90d")
    .action(async (backend: string, options: CreateOptions) => {
      const { text, id, expiresAt } = await create(backend, options);
      say(`WORMHOLE_TOKEN=${text}`);
      const until = expiresAt === undefined ? "" : `, until ${new Date(expiresAt).toISOString()}`;
      process.stderr.write(`token ${id} for backend ${backend}${until}; it is not shown again\n`);
    });
  placeFlags(token.command("list").summary("list tokens"))
    .option("--json", "as JSON")
    .action(async (options: PlaceOptions & { json?: boolean }) => {
      const tokens = (await withBook(options, (book) => book.list())).map(
        ({ id, backend, createdAt, expiresAt }) => ({
          id,
          backend,
          created: new Date(createdAt).toISOString(),
          expires: expiresAt === undefined ? null : new Date(expiresAt).toISOString(),
        }),
      );
      if (options.json) return sayJson(tokens);
      for (const { id, backend, created, expires } of tokens)
        say(`${id}  ${backend}  created ${created}  ${expires ? `expires ${expires}` : "never expires"}`);
    });
  placeFlags(
    token
      .command("revoke <id>")
      .summary("revoke a token and cut its wormholes")
      .description("Revokes a token. Edges that share the storage cut its wormholes within a second."),
  ).action(async (id: string, options: PlaceOptions) => {
    if (!(await withBook(options, (book) => book.revoke(id))))
      throw new EdgeError("USAGE", `no token ${JSON.stringify(id)}; "skerry token list" shows them`, {
        source: "operator",
      });
    say(`revoked ${id}`);
  });
}

async function withBook<T>(
  options: PlaceOptions,
  work: (book: TokenBook, storage: Storage) => Promise<T>,
): Promise<T> {
  const place = options.storage
    ? { storage: options.storage }
    : await loadConfig(options.config, { certificates: "local" });
  return asOwnerOf(place, (storage) => work(createTokenBook(storage, systemClock), storage));
}

async function create(backend: string, options: CreateOptions): ReturnType<TokenBook["create"]> {
  // Certificates play no part here, so a config that is tried with "skerry dev" is good enough.
  const config = await loadConfig(options.config, { certificates: "local" });
  const address = options.address ?? config.tunnel.address;
  if (address === undefined)
    throw new EdgeError(
      "USAGE",
      'where do agents dial? Set tunnel: { address: "edge.example.com:443" } or --address',
      {
        source: "operator",
      },
    );
  return withBook(options, async (book, storage) => {
    await checkBackend(backend, config, storage);
    const pair = options.publicCa ? undefined : await openTunnelIdentity(storage, TUNNEL_NAME, systemClock);
    const pin = pair && pinOf(new X509Certificate(pair.chain).raw);
    return book.create({ backend, address, pin }, options.expires);
  });
}

/** Of the config, or one that began with an added server. */
async function checkBackend(name: string, { backends }: ResolvedConfig, storage: Storage): Promise<void> {
  if (backends.has(name)) return;
  const { servers } = await createDynamicBook(storage).read();
  if (servers.has(name)) return;
  const known = [...backends.keys()].join(", ") || "none";
  const added = servers.size > 0 ? `; added by command: ${[...servers.keys()].join(", ")}` : "";
  throw new EdgeError(
    "USAGE",
    `the config has no backend ${JSON.stringify(name)}; it has: ${known}${added}`,
    {
      source: "operator",
    },
  );
}

const UNITS: Readonly<Record<string, number>> = {
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};

function lifetime(text: string): number {
  const [, number, unit = ""] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
  const length = Number(number) * (UNITS[unit] ?? Number.NaN);
  if (!(length > 0)) throw new InvalidArgumentError("write a number and s, m, h, d or w, such as 30d.");
  return length;
}

function dialAddress(text: string): string {
  const parsed = parseDialAddress(text);
  if ("problem" in parsed) throw new InvalidArgumentError(`${parsed.problem}.`);
  return parsed.value;
}
