/** `skerry hosts …`: hosts that all edges serve from one moment to the next. */
import type { Command } from "commander";
import { hostRows } from "../config/merge.ts";
import { changeFleet, readServed } from "./dynamic.ts";
import { type PlaceOptions, placeFlags } from "./flags.ts";
import { sayJson, sayTable } from "./say.ts";

export function addHosts(program: Command): void {
  const hosts = program.command("hosts").summary("add and remove hosts on all edges, without a reload");
  placeFlags(
    hosts
      .command("add <host>")
      .summary("serve a host on all edges")
      .description(
        "Adds a host to all edges that share the storage. They serve it within a second, order its certificate at once, and " +
          "drop no connection. Works whether edges run or not. A host of the config file stays as it is there.",
      )
      .requiredOption(
        "--backend <name>",
        "where its requests go: a backend of the config, or one with added servers",
      )
      .option("--replace", "take it from the backend that it was added with before"),
  )
    .addHelpText("after", "\nExample:\n  skerry hosts add app.example.com --backend web")
    .action((host: string, { backend, replace = false, ...place }: AddOptions) =>
      changeFleet({ kind: "add-host", host, backend, replace }, place),
    );
  placeFlags(
    hosts
      .command("remove <host>")
      .summary("stop serving a host that was added")
      .description(
        "Removes a host that was added; one of the config file is removed there. Edges refuse it in the handshake within a " +
          "second. Its certificate stays in storage.",
      ),
  ).action((host: string, options: PlaceOptions) => changeFleet({ kind: "remove-host", host }, options));
  placeFlags(
    hosts
      .command("list")
      .summary("list the hosts of the config and those that were added")
      .option("--json", "as JSON"),
  ).action(async ({ json, ...options }: PlaceOptions & { json?: boolean }) => {
    const { config, state, notes } = await readServed(options);
    const rows = hostRows(config, state, notes);
    if (json) return sayJson(rows);
    sayTable(
      rows.map(({ host, backend, source, note }) => [
        host,
        backend ?? "an app",
        source,
        ...(note ? [note] : []),
      ]),
    );
  });
}

interface AddOptions extends PlaceOptions {
  backend: string;
  replace?: boolean;
}
