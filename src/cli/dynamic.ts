/** What `skerry hosts` and `skerry backends` have in common: they change storage, which running edges watch. */
import type { ResolvedConfig } from "../config/config.ts";
import type { DynamicEdit, DynamicState } from "../config/dynamic.ts";
import { loadConfig } from "../config/load.ts";
import { createMerger, type Merged } from "../config/merge.ts";
import { createDynamicBook } from "../edge/dynamic-book.ts";
import type { Storage } from "../storage/storage.ts";
import type { PlaceOptions } from "./flags.ts";
import { say } from "./say.ts";
import { asOwnerOf, type Place, withStorage } from "./storage.ts";

/** Makes one change for all edges, and says what was done. */
export async function changeFleet(edit: DynamicEdit, options: PlaceOptions): Promise<void> {
  // Only who adds a host needs a CA for it.
  const certificates = edit.kind === "add-host" ? "acme" : "local";
  const config = await loadConfig(options.config, { certificates });
  const { said } = await asOwnerOf(placeOf(config, options), (storage) =>
    createDynamicBook(storage).edit(edit, config),
  );
  say(said);
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
  return withStorage(config, (storage) => withDynamic(config, storage));
}

/** What is served by an edge with this config. */
export async function readServed(options: PlaceOptions): Promise<Merged & { readonly state: DynamicState }> {
  const config = await loadConfig(options.config, { certificates: "local" });
  return asOwnerOf(placeOf(config, options), async (storage) => {
    const state = await createDynamicBook(storage).read();
    const away = storage.away?.();
    if (away)
      process.stderr.write(`skerry: warning: storage is away (${away.reason}): from the local copy\n`);
    return { ...createMerger()(config, state), state };
  });
}

function placeOf(config: ResolvedConfig, { storage }: PlaceOptions): Place {
  return storage === undefined ? config : { storage };
}
