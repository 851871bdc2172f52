import type { Command } from "commander";
import type { ResolvedConfig } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";

export function addCheck(program: Command): void {
  program
    .command("check")
    .summary("say whether a config file is right")
    .description(
      "Reads and checks a config file without starting anything. Exits 0 when it is right; otherwise lists every problem, one a line, and exits 2.",
    )
    .option("-c, --config <file>", "config file (default: skerry.config.ts, .js or .json in this folder)")
    .addHelpText("after", "\nExample:\n  skerry check --config skerry.config.ts")
    .action(async (options: { config?: string }) => {
      process.stdout.write(`ok: ${summary(await loadConfig(options.config))}\n`);
    });
}

const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`;

function summary(config: ResolvedConfig): string {
  let servers = 0;
  for (const backend of config.backends.values()) servers += backend.servers.length;
  return [
    count(config.hosts.size, "host"),
    count(config.backends.size, "backend"),
    count(servers, "server"),
  ].join(", ");
}
