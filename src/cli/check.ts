import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { systemClock } from "../clock.ts";
import type { ResolvedConfig } from "../config/config.ts";
import { readConfig, resolveSource, shortName } from "../config/load.ts";
import { EdgeError, messageOf } from "../errors.ts";
import { configFlag } from "./flags.ts";
import { say } from "./say.ts";

export function addCheck(program: Command): void {
  configFlag(
    program
      .command("check")
      .summary("say whether a config file is right")
      .description(
        "Reads and checks a config file without starting anything. Exits 0 when it is right; otherwise lists every problem, one a line, and exits 2.",
      ),
  )
    .addHelpText("after", "\nExample:\n  skerry check --config skerry.config.ts")
    .action(async (options: { config?: string }) => {
      const source = await readConfig(options.config);
      const config = resolveSource(source);
      await checkPairs(config, shortName(source.file));
      say(`ok: ${summary(config)}`);
    });
}

/**
 * Whether own certificates fit their keys, and their hosts. The edge starts without one that does not, as a pair may be in the
 * middle of being replaced; here there is time to say so.
 */
async function checkPairs({ hosts }: ResolvedConfig, file: string): Promise<void> {
  const own = [...hosts.values()].flatMap(({ name, tls }) => (tls ? [{ host: name, ...tls }] : []));
  if (own.length === 0) return;
  // Loaded here, so that other configs do not wait for X.509.
  const { bundleOf, checkServable } = await import("../tls/bundle.ts");
  const problems: string[] = [];
  for (const { host, certPath, keyPath } of own) {
    const field = `${file}: hosts[${JSON.stringify(host)}].tls`;
    try {
      const pair = { chain: await readFile(certPath, "utf8"), key: await readFile(keyPath, "utf8") };
      const facts = { host, issuer: "file", generation: 0, obtainedAt: 0 };
      const bundle = bundleOf(pair, facts, certPath);
      const warn = (what: string): void => void process.stderr.write(`skerry: warning: ${field}: ${what}\n`);
      if (bundle.notAfter <= systemClock.wall())
        warn(`${certPath} expired at ${new Date(bundle.notAfter).toISOString()}`);
      try {
        checkServable(bundle, certPath);
      } catch (thrown) {
        // Clients may refuse it, but the edge serves it, as the operator wants it so.
        warn(messageOf(thrown));
      }
    } catch (thrown) {
      problems.push(`${field}: ${messageOf(thrown)}`);
    }
  }
  if (problems.length > 0) throw new EdgeError("CONFIG_INVALID", problems.join("\n"), { source: "operator" });
}

const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`;

function summary(config: ResolvedConfig): string {
  const nothing = config.hosts.size === 0 && config.onDemand === undefined;
  let servers = 0;
  for (const backend of config.backends.values()) servers += backend.servers.length;
  return [
    count(config.hosts.size, "host") + (nothing ? ' (add some with "skerry hosts add")' : ""),
    count(config.backends.size, "backend"),
    count(servers, "server"),
  ].join(", ");
}
