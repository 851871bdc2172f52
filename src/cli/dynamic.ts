/** What `skerry hosts` and `skerry backends` have in common: they change storage, which running edges watch. */
import type { Command } from "commander";
import { systemClock } from "../clock.ts";
import type { ResolvedConfig } from "../config/config.ts";
import type { DynamicEdit, DynamicState } from "../config/dynamic.ts";
import { loadConfig } from "../config/load.ts";
import { createMerger, type Merged } from "../config/merge.ts";
import { createDynamicBook } from "../edge/dynamic-book.ts";
import { openStorage } from "../edge/storage.ts";
import { silentLog } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import { storageFlag } from "./flags.ts";
import { actAsOwner } from "./owner.ts";

export interface PlaceOptions {
  config?: string;
  storage?: string;
}

export function placeFlags(command: Command): Command {
  return command
    .option("-c, --config <file>", "config file (default: skerry.config.ts, .js or .json in this folder)")
    .option("--storage <folder>", "the edges' storage, in place of the config's", storageFlag);
}

/** Makes one change for all edges, and says what was done. */
export async function changeFleet(edit: DynamicEdit, options: PlaceOptions): Promise<void> {
  // Only who adds a host needs a CA for it.
  const certificates = edit.kind === "add-host" ? "acme" : "local";
  const config = await loadConfig(options.config, { certificates });
  const { said } = await withStorage(config, options, (storage) =>
    createDynamicBook(storage).edit(edit, config),
  );
  process.stdout.write(`${said}\n`);
}

/** The config with what was added to it by command. */
export async function withDynamic(
  config: ResolvedConfig,
  storage: Pick<Storage, "load" | "store" | "update" | "withLock">,
): Promise<ResolvedConfig> {
  return createMerger()(config, await createDynamicBook(storage).read()).config;
}

/**
 * As {@link withDynamic}, for who has no storage open and asks for one host: storage is only read where the config
 * does not name it.
 */
export async function withDynamicHost(config: ResolvedConfig, host: string): Promise<ResolvedConfig> {
  if (config.hosts.has(host)) return config;
  // Nothing is written, so the caller stays who it is: it may have a port below 1024 to listen on.
  return openFor(config, (storage) => withDynamic(config, storage));
}

/** What is served by an edge with this config. */
export async function readFleet(options: PlaceOptions): Promise<Merged & { readonly state: DynamicState }> {
  const config = await loadConfig(options.config, { certificates: "local" });
  return withStorage(config, options, async (storage) => {
    const state = await createDynamicBook(storage).read();
    const away = storage.away?.();
    if (away)
      process.stderr.write(`skerry: warning: storage is away (${away.reason}): from the local copy\n`);
    return { ...createMerger()(config, state), state };
  });
}

async function withStorage<T>(
  config: ResolvedConfig,
  options: PlaceOptions,
  work: (storage: Storage) => Promise<T>,
): Promise<T> {
  const place = options.storage === undefined ? config : { storage: options.storage };
  await actAsOwner(place.storage);
  return openFor(place, work);
}

async function openFor<T>(
  place: Pick<ResolvedConfig, "storage">,
  work: (storage: Storage) => Promise<T>,
): Promise<T> {
  const storage = openStorage(place, { clock: systemClock, log: silentLog });
  try {
    await storage.check();
    return await work(storage);
  } finally {
    await storage.close();
  }
}

/** Columns as wide as what is in them; the last one is not padded. */
export function writeTable(rows: readonly (readonly string[])[]): void {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, index) => {
      widths[index] = Math.max(widths[index] ?? 0, cell.length);
    });
  for (const row of rows) {
    const line = row.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join("  ");
    process.stdout.write(`${line.trimEnd()}\n`);
  }
}

export function writeJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
}
