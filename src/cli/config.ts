import type { Command } from "commander";
import { configJsonSchema } from "../config/schema.ts";
import { sayJson } from "./say.ts";

export function addConfig(program: Command): void {
  const config = program.command("config").summary("about the config format");
  config
    .command("schema")
    .summary("print the JSON Schema of config files")
    .description("Prints the JSON Schema of skerry.config.json, for editors that complete and check JSON.")
    .option("-c, --config <file>", "accepted by every command; not read here")
    .addHelpText("after", "\nExample:\n  skerry config schema > skerry.schema.json")
    .action(() => {
      sayJson(configJsonSchema());
    });
}
