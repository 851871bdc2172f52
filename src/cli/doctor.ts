import { type Command, InvalidArgumentError } from "commander";
import { systemClock } from "../clock.ts";
import { loadConfig } from "../config/load.ts";
import { parseServedName } from "../config/parse.ts";
import type { Check } from "./doctor-checks.ts";
import { withDynamicHost } from "./dynamic.ts";
import { EXIT_FAILURE } from "./fail.ts";
import { configFlag } from "./flags.ts";
import { sayJson } from "./say.ts";

interface Flags {
  readonly config?: string;
  readonly json?: boolean;
  readonly httpPort: number;
  readonly httpsPort: number;
}

export function addDoctor(program: Command): void {
  configFlag(
    program
      .command("doctor")
      .summary("say what keeps a host from HTTPS")
      .description(
        "Looks at everything that a host needs, and says what to do about what is wrong: the CA and the clock, DNS, ports 80 " +
          "and 443 as the world reaches them, CAA, the stored certificate, the backend's servers. Writes and orders nothing. " +
          "Exits 1 when something is wrong.",
      )
      .argument("<host>", "a host of the config", hostName),
  )
    .option("--json", "print one JSON object", false)
    .option("--http-port <port>", "the port that leads to listen.http from outside", portNumber, 80)
    .option("--https-port <port>", "the port that leads to listen.https from outside", portNumber, 443)
    .addHelpText("after", "\nExample:\n  skerry doctor app.example.com")
    .action(async (host: string, flags: Flags) => {
      const named = await loadConfig(flags.config);
      // Storage that cannot be read is a finding of its own.
      const config = await withDynamicHost(named, host).catch(() => named);
      // Loaded here, so that the other commands do not wait for it.
      const { examine } = await import("./doctor-checks.ts");
      const { httpPort, httpsPort } = flags;
      const signal = new AbortController().signal;
      const checks = await examine(config, host, { clock: systemClock, httpPort, httpsPort, signal });
      const ok = checks.every((check) => check.ok);
      if (flags.json) sayJson({ host, ok, checks });
      else process.stdout.write(formatChecks(checks));
      if (!ok) process.exitCode = EXIT_FAILURE;
    });
}

function hostName(text: string): string {
  const parsed = parseServedName(text);
  if ("problem" in parsed) throw new InvalidArgumentError(`${parsed.problem}.`);
  return parsed.value;
}

function portNumber(text: string): number {
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65_535) throw new InvalidArgumentError("not a port.");
  return port;
}

/** A line for each, and one more for what to do. */
function formatChecks(checks: readonly Check[]): string {
  const width = Math.max(...checks.map(({ check }) => check.length));
  return checks
    .map(({ check, ok, message, fix }) => {
      const line = `${ok ? "✓" : "✗"} ${check.padEnd(width)}  ${message}\n`;
      return ok || fix === undefined ? line : `${line}  ${" ".repeat(width)}  → ${fix}\n`;
    })
    .join("");
}
