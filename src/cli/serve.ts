import type { Command } from "commander";
import { loadConfig } from "../config/load.ts";
import { configFlag } from "./flags.ts";
import { runEdge } from "./run.ts";

export function addServe(program: Command, exit: (code: number) => void): void {
  configFlag(
    program
      .command("serve")
      .summary("run the edge of a config file")
      .description(
        "Runs the edge that a config file describes, in the foreground, and logs JSON lines to standard output.\n\n" +
          "SIGTERM or Ctrl-C drains and exits 0; a second one, more than a moment later, exits at once. SIGHUP reads the file again: a change takes " +
          "effect without dropping connections, a broken one is refused and logged.",
      ),
  )
    .addHelpText("after", "\nExample:\n  skerry serve --config skerry.config.ts")
    .action(async (options: { config?: string }) => {
      const read = () => loadConfig(options.config);
      exit(await runEdge(await read(), { reload: read }));
    });
}
