/** The `skerry` command: its subcommands, and how they fail. */
import { Command, CommanderError } from "commander";
import { version } from "../version.ts";
import { addBackends } from "./backends.ts";
import { addCerts } from "./certs.ts";
import { addCheck } from "./check.ts";
import { addConfig } from "./config.ts";
import { addDev } from "./dev.ts";
import { addDoctor } from "./doctor.ts";
import { EXIT_USAGE, reportFailure } from "./fail.ts";
import { addFleet } from "./fleet.ts";
import { addHosts } from "./hosts.ts";
import { addPresence } from "./presence.ts";
import { outliveReaders } from "./readers.ts";
import { addServe } from "./serve.ts";
import { addToken } from "./token.ts";
import { addUp } from "./up.ts";

/** Runs one command line and ends the process where the command is over. Never rejects. */
export async function main(args: readonly string[]): Promise<void> {
  outliveReaders();
  try {
    await createProgram((code) => process.exit(code)).parseAsync(args, { from: "user" });
  } catch (error) {
    // Commander has written its own message by then, and help or a version are no failure.
    const code =
      error instanceof CommanderError ? (error.exitCode === 0 ? 0 : EXIT_USAGE) : reportFailure(error);
    process.exit(code);
  }
}

function createProgram(exit: (code: number) => void): Command {
  const program = new Command("skerry")
    .description(
      "Your own edge network: HTTPS for your host names, middleware in TypeScript, balanced backends.",
    )
    .version(version, "-V, --version")
    .exitOverride()
    .showSuggestionAfterError()
    .configureOutput({
      outputError: (text, write) => write(`${oneLine(text)}\n`),
    })
    .addHelpText(
      "after",
      `
Examples:
  skerry dev                                                      try everything on this machine
  skerry up app.example.com --to 127.0.0.1:3000 --agree-to-terms  one host, no config file
  skerry serve --config skerry.config.ts                          production`,
    );
  addUp(program, exit);
  addDev(program, exit);
  addServe(program, exit);
  addCheck(program);
  addConfig(program);
  addDoctor(program);
  addHosts(program);
  addBackends(program);
  addToken(program);
  addFleet(program);
  addPresence(program);
  // For the help; skerry.ts runs it.
  program.command("wormhole").summary("join a backend from a container: wormhole COMMAND…");
  addCerts(program);
  return program;
}

/** Commander says `error: …`, names arguments in its own way, and puts its suggestion on a second line. */
function oneLine(text: string): string {
  const words = text
    .replace(/^error: /, "")
    .trim()
    .replace(/\s*\n\s*/g, " ")
    .replace(/^command-argument value '(.*)' is invalid for argument '(.*)'\. /, "<$2> '$1' is invalid: ")
    .replace(/ is invalid\. /, " is invalid: ")
    .replace(/\.$/, "");
  return `skerry: ${words}; see --help`;
}
