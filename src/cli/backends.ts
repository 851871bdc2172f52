/** `skerry backends …`: servers that all edges send requests to from one moment to the next. */
import { type Command, InvalidArgumentError } from "commander";
import { weightProblem } from "../config/dynamic.ts";
import { backendRows } from "../config/merge.ts";
import { changeFleet, readServed } from "./dynamic.ts";
import { type PlaceOptions, placeFlags } from "./flags.ts";
import { sayJson, sayTable } from "./say.ts";

interface AddOptions extends PlaceOptions {
  weight?: number;
  location?: string;
}

export function addBackends(program: Command): void {
  const backends = program
    .command("backends")
    .summary("add and remove servers on all edges, without a reload");
  placeFlags(
    backends
      .command("add-server <backend> <url>")
      .summary("send a backend's requests to one more server")
      .description(
        "Adds a server to a backend on all edges that share the storage, within a second and without dropping a connection. " +
          "A backend that the config does not name begins with its first server, with the defaults of every setting.",
      )
      .option("--weight <number>", "its share, compared with the others' (default: 1)", weight)
      .option("--location <name>", "where it runs: edges elsewhere send it only what their own cannot take"),
  )
    .addHelpText("after", "\nExample:\n  skerry backends add-server web http://10.0.0.7:8000")
    .action((backend: string, url: string, { weight: share, location, ...place }: AddOptions) =>
      changeFleet(
        {
          kind: "add-server",
          backend,
          url,
          ...(share !== undefined && { weight: share }),
          ...(location !== undefined && { location }),
        },
        place,
      ),
    );
  placeFlags(
    backends
      .command("remove-server <backend> <url>")
      .summary("take out a server that was added")
      .description(
        "Removes a server that was added; one of the config file is removed there. Requests that it has are finished. A " +
          "backend that the config does not name goes with its last server, which stays while a host is served from it.",
      ),
  ).action((backend: string, url: string, options: PlaceOptions) =>
    changeFleet({ kind: "remove-server", backend, url }, options),
  );
  placeFlags(
    backends
      .command("list")
      .summary("list the backends and servers of the config and those that were added")
      .option("--json", "as JSON"),
  ).action(async ({ json, ...options }: PlaceOptions & { json?: boolean }) => {
    const { config, state, notes } = await readServed(options);
    const rows = backendRows(config, state, notes);
    if (json) return sayJson(rows);
    sayTable(
      rows.flatMap(({ name, source, servers }) =>
        servers.length === 0
          ? [[name, "no servers", source]]
          : servers.map((server) => [
              name,
              [
                server.url,
                ...(server.weight === 1 ? [] : [`weight ${server.weight}`]),
                ...(server.location === undefined ? [] : [`in ${server.location}`]),
              ].join(" "),
              server.source,
              ...(server.note ? [server.note] : []),
            ]),
      ),
    );
  });
}

function weight(text: string): number {
  const number = Number(text);
  const problem = weightProblem(number);
  if (problem !== undefined) throw new InvalidArgumentError(`${problem}.`);
  return number;
}
