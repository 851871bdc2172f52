import { type Command, InvalidArgumentError } from "commander";
import { systemClock } from "../clock.ts";
import type { ResolvedConfig } from "../config/config.ts";
import { readConfig, resolveSource } from "../config/load.ts";
import { type Parsed, parseDirectory, parseEmail, parseHostName } from "../config/parse.ts";
import { parseServer } from "../config/parse-server.ts";
import { resolveConfig } from "../config/resolve.ts";
import { DEFAULT_DIRECTORY } from "../config/schema.ts";
import { EdgeError } from "../errors.ts";
import { LISTEN_FIELDS, type ListenFlags, listenFlags, storageFlag } from "./flags.ts";
import { humanLog } from "./human-log.ts";
import { runEdge } from "./run.ts";

interface UpOptions extends ListenFlags {
  config?: string;
  to: string[];
  email?: string;
  agreeToTerms?: boolean;
  storage?: string;
  location?: string;
  acmeDirectory?: string;
  acmeCa?: string;
}

export function addUp(program: Command, exit: (code: number) => void): void {
  const command = program
    .command("up")
    .summary("serve one host, without a config file")
    .description(
      "Serves HTTPS for one host name and forwards its requests to the given servers. The name's DNS must point to " +
        "this machine, whose ports 80 and 443 must be reachable: the certificate is ordered from Let's Encrypt at start.",
    )
    .argument("<host>", "the host name to serve", checked(parseHostName))
    .requiredOption(
      "--to <address>",
      "where to forward: :3000, 10.0.0.5:3000 or a URL; repeat for more",
      addServer,
    )
    .option("--agree-to-terms", "accept the terms of service of the certificate authority")
    .option("--email <address>", "where the certificate authority may write to", checked(parseEmail))
    .option("--storage <folder>", 'where certificates are kept (default: "certs")', storageFlag)
    .option(
      "--location <name>",
      "where this edge runs (default: SKERRY_LOCATION, FLY_REGION, or the machine's name)",
    )
    .option(
      "--acme-directory <url>",
      "another certificate authority than Let's Encrypt",
      checked(parseDirectory),
    )
    .option("--acme-ca <file>", "PEM certificate that the authority's own server is signed with");
  listenFlags(command)
    .option("-c, --config <file>", "a config file to add the host to")
    .addHelpText(
      "after",
      "\nExample:\n  skerry up app.example.com --to 127.0.0.1:3000 --to 127.0.0.1:3001 --agree-to-terms",
    )
    .action(async (host: string, options: UpOptions) => {
      const read = () => upConfig(host, options);
      const config = await read();
      exit(
        await runEdge(config, {
          ...(options.config !== undefined && { reload: read }),
          // A person watches; a service manager collects JSON.
          ...(process.stdout.isTTY && {
            log: humanLog({ clock: systemClock, write, least: config.logLevel }),
          }),
          onStart: () =>
            process.stderr.write(
              `skerry: serving https://${host} from ${options.to.join(", ")}; Ctrl-C ends it\n`,
            ),
        }),
      );
    });
}

/** ":3000" and "3000" mean this machine; an address without protocol means http. */
export function serverUrl(text: string): string {
  if (/^:?\d+$/.test(text)) return `http://127.0.0.1:${text.replace(":", "")}`;
  return /^unix:|:\/\//.test(text) ? text : `http://${text}`;
}

function addServer(text: string, before: string[] = []): string[] {
  const parsed = parseServer(serverUrl(text));
  if ("problem" in parsed) throw new InvalidArgumentError(`${parsed.problem}.`);
  return [...before, parsed.value.id];
}

function checked<T>(parse: (text: string) => Parsed<T>): (text: string) => T {
  return (text) => {
    const parsed = parse(text);
    if ("problem" in parsed) throw new InvalidArgumentError(`${parsed.problem}.`);
    return parsed.value;
  };
}

const write = (line: string): void => void process.stdout.write(line);

type Fields = Record<string, unknown>;

async function upConfig(host: string, options: UpOptions): Promise<ResolvedConfig> {
  const source = options.config === undefined ? undefined : await readConfig(options.config);
  const base = (source?.input ?? {}) as Fields;
  const acme = withFlags(base.acme as Fields | undefined, {
    directory: options.acmeDirectory,
    trustedCa: options.acmeCa,
    email: options.email,
    agreeToTerms: options.agreeToTerms,
  });
  if (acme.agreeToTerms !== true) throw termsError(acme.directory);
  const flags = { storage: options.storage, location: options.location };
  const input = {
    ...withFlags(base, flags),
    acme,
    listen: withFlags(
      base.listen as Fields | undefined,
      Object.fromEntries(LISTEN_FIELDS.map((field) => [field, options[field]])),
    ),
    backends: { ...(base.backends as Fields | undefined), [host]: { servers: options.to } },
    hosts: { ...(base.hosts as Fields | undefined), [host]: { backend: host } },
  };
  return source ? resolveSource({ ...source, input }) : resolveConfig(input);
}

function withFlags(base: Fields | undefined, flags: Fields): Fields {
  const given = Object.entries(flags).filter(([, value]) => value !== undefined);
  return { ...base, ...Object.fromEntries(given) };
}

function termsError(directory: unknown): EdgeError {
  const other = directory !== undefined && directory !== DEFAULT_DIRECTORY;
  const whose = other
    ? "the certificate authority's terms"
    : "Let's Encrypt's terms (https://letsencrypt.org/repository/)";
  return new EdgeError(
    "USAGE",
    `a certificate is ordered only when you accept ${whose}: add --agree-to-terms`,
    {
      source: "operator",
    },
  );
}
