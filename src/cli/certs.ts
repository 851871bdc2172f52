/** `skerry certs`: what certificates there are, and what an operator may do with them. */
import { type Command, Option } from "commander";
import { systemClock } from "../clock.ts";
import type { ResolvedConfig } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { parseHostName } from "../config/parse.ts";
import { EdgeError } from "../errors.ts";
import { type LiveView, liveView } from "../fleet/view.ts";
import { createLog, type Log } from "../log.ts";
import type { Storage } from "../storage/storage.ts";
import type { Bundle } from "../tls/bundle.ts";
import { createCertificateFolder } from "../tls/folder-keeper.ts";
import { type CertificateRow, createInventory, type Inventory } from "../tls/inventory.ts";
import { REVOCATION_REASONS } from "../tls/revocation.ts";
import { runningEdge, withEdge } from "./certs-edge.ts";
import { exportPem, exportPkcs12, importPair, readPair, readPassword } from "./certs-files.ts";
import { withDynamic } from "./dynamic.ts";
import { configFlag } from "./flags.ts";
import { actAsOwner } from "./owner.ts";
import { namer, readFleet } from "./presence.ts";
import { say, sayJson } from "./say.ts";
import { withStorage } from "./storage.ts";
import { columns } from "./table.ts";

interface Common {
  config?: string;
  json?: boolean;
}

/** A row with what the running edge knows besides; null without one. */
type LiveRow = CertificateRow & {
  readonly live: Record<string, unknown> | null;
  /** On how many edges of the fleet it is live; only where one host is asked for. */
  readonly fleet?: LiveView;
};

export function addCerts(program: Command): void {
  const certs = program
    .command("certs")
    .summary("list, show, renew, revoke, import and export certificates")
    .description(
      "What certificates there are, from storage; and, where the edge runs, what it does with them.",
    );
  const command = (words: string, summary: string): Command =>
    configFlag(
      certs
        .command(words)
        .summary(summary)
        .description(`${summary[0]?.toUpperCase()}${summary.slice(1)}.`),
    );
  const host = "<host>";

  command("list", "list the certificate of every host")
    .option("--json", "as JSON: an array with one object per host")
    .action(async (options: Common) => {
      const rows = await inspect(options, async ({ config, inventory }) => {
        const hosts = await inventory.hosts();
        return live(config, await Promise.all(hosts.map((name) => inventory.row(name))));
      });
      if (options.json) return sayJson(rows);
      say(table(rows));
    });
  command(`show ${host}`, "show all that is known of one certificate")
    .option("--json", "as JSON")
    .action(async (name: string, options: Common) => {
      const known = hostName(name);
      const [row] = await inspect(options, async ({ config, inventory }) => {
        const row = await inventory.row(known);
        // One that was taken out of the config may still be stored.
        if (row.state === "missing" && !(await inventory.hosts()).includes(known))
          throw usage(`${known} is not a host of this config; "skerry certs list" shows them`);
        return withFleet(config, await live(config, [row]), known);
      });
      if (options.json) return sayJson(row);
      say(details(row!));
    });
  command(`renew ${host}`, "renew a certificate now")
    .option("--force", "even where it is not due")
    .action(async (name: string, options: Common & { force?: boolean }) => {
      const known = hostName(name);
      const config = await loadConfig(options.config);
      const status = (await withEdge(config, known, (ask) =>
        ask("POST", `/certificates/${known}/renew`, { force: options.force ?? false }),
      )) as { generation?: number; notAfter?: number };
      say(`${known}: renewed, generation ${status.generation}, until ${date(status.notAfter)}`);
    });
  command(`revoke ${host}`, "revoke a certificate, after one with a new key has taken its place")
    .addOption(
      new Option("--reason <reason>", "why").choices(Object.keys(REVOCATION_REASONS)).makeOptionMandatory(),
    )
    .action(async (name: string, options: Common & { reason: string }) => {
      const known = hostName(name);
      const config = await loadConfig(options.config);
      const { serial, status } = (await withEdge(config, known, (ask) =>
        ask("POST", `/certificates/${known}/revoke`, { reason: options.reason }),
      )) as { serial: string; status: { generation?: number } };
      say(`${known}: revoked ${serial} (${options.reason}); generation ${status.generation} is served`);
    });
  command(
    `import ${host}`,
    "take over a certificate from elsewhere; it is renewed by ACME when its time comes",
  )
    .requiredOption("--cert <file>", "PEM of the certificate and its chain, leaf first")
    .requiredOption("--key <file>", "PEM of its private key")
    .action(async (name: string, options: Common & { cert: string; key: string }) => {
      const known = hostName(name);
      // Before this becomes the storage's owner, who may not read another's key.
      const pair = await readPair(options);
      const stored = await inspect({ ...options, writes: true }, async (parts) => {
        const bundle = await importPair(parts.config, parts, known, pair);
        // It would see it within the hour by itself.
        await (await runningEdge(parts.config))?.("POST", `/certificates/${known}/reload`, {});
        return bundle;
      });
      say(`${known}: imported as generation ${stored.generation}, until ${date(stored.notAfter)}`);
    });
  command(`export ${host}`, "write a certificate and its key to files: PEM, or PKCS#12")
    .option("--out <folder>", "where HOST.crt and HOST.key go", ".")
    .option("--pkcs12 <file>", "one PKCS#12 file instead")
    .option("--password-stdin", "its password is the first line of standard input")
    .action(
      async (name: string, options: Common & { out: string; pkcs12?: string; passwordStdin?: boolean }) => {
        const known = hostName(name);
        if (options.pkcs12 !== undefined && !options.passwordStdin)
          throw usage("--pkcs12 takes a password: add --password-stdin");
        const bundle = await inspect(options, ({ inventory }) => required(inventory, known));
        if (options.pkcs12 === undefined) return say((await exportPem(bundle, options.out)).join("\n"));
        await exportPkcs12(bundle, options.pkcs12, await readPassword());
        say(options.pkcs12);
      },
    );
}

interface Parts {
  readonly config: ResolvedConfig;
  readonly storage: Storage;
  readonly inventory: Inventory;
}

/** Opens what a config names, and closes it; what `writes` does so as its owner. */
async function inspect<T>(
  options: Common & { writes?: boolean },
  work: (parts: Parts) => Promise<T>,
): Promise<T> {
  const base = await loadConfig(options.config);
  if (options.writes) await actAsOwner(base.storage);
  const log: Log = createLog({ level: "error", write: (line) => void process.stderr.write(line) });
  const { folder: path } = base.tls;
  const folder =
    path === undefined
      ? undefined
      : createCertificateFolder({ path, clock: systemClock, log, onChange() {} });
  await folder?.load();
  return withStorage(
    base,
    async (storage) => {
      const config = await withDynamic(base, storage);
      const inventory = createInventory(config, { storage, folder, wall: () => systemClock.wall() });
      return work({ config, storage, inventory });
    },
    // What is only read may be where nothing can be written.
    { log, check: false },
  );
}

async function live(config: ResolvedConfig, rows: readonly CertificateRow[]): Promise<LiveRow[]> {
  const ask = await runningEdge(config);
  const answer = (await ask?.("GET", "/certificates")) as
    | { certificates?: Record<string, unknown>[] }
    | undefined;
  const known = new Map((answer?.certificates ?? []).map((status) => [status.host, status]));
  return rows.map((row) => ({ ...row, live: known.get(row.host) ?? null }));
}

/** As the running edge knows; without one, as storage says. */
async function withFleet(
  config: ResolvedConfig,
  [row]: readonly LiveRow[],
  host: string,
): Promise<LiveRow[]> {
  if (!row) return [];
  const ask = row.live ? await runningEdge(config) : undefined;
  const path = `/certificates/${host}?generation=${row.generation ?? 0}`;
  const answer = (await ask?.("GET", path)) as { fleet?: LiveView } | undefined;
  const fleet = answer?.fleet ?? (await liveView((await readFleet(config)).peers, host, row.generation ?? 0));
  return [{ ...row, fleet }];
}

async function required(inventory: Inventory, host: string): Promise<Bundle> {
  const bundle = await inventory.bundle(host);
  if (bundle) return bundle;
  throw new EdgeError("CERTIFICATE_MISSING", `${host} has no certificate`, { source: "operator" });
}

function hostName(text: string): string {
  const parsed = parseHostName(text);
  if ("problem" in parsed) throw usage(`${JSON.stringify(text)}: ${parsed.problem}`);
  return parsed.value;
}

function usage(message: string): EdgeError {
  return new EdgeError("USAGE", message, { source: "operator" });
}

const date = (wall: number | undefined): string => (wall === undefined ? "?" : new Date(wall).toISOString());

function table(rows: readonly LiveRow[]): string {
  const lines = rows.map(({ host, state, notAfter, issuer, generation, live: now }) => [
    host,
    state,
    notAfter?.slice(0, 16).replace("T", " ") ?? "-",
    issuer ?? "-",
    generation === null ? "-" : String(generation),
    now
      ? typeof now.nextAttemptAt === "number"
        ? `next ${date(now.nextAttemptAt).slice(0, 16).replace("T", " ")}`
        : "served"
      : "",
  ]);
  return columns([
    ["HOST", "STATE", "UNTIL (UTC)", "ISSUER", "GEN", rows.some((row) => row.live) ? "EDGE" : ""],
    ...lines,
  ]);
}

/** "live on 5/5"; or who does not serve it yet, and what they serve. */
function liveText({ live: count, of, missing }: LiveView): string {
  const nameOf = namer(missing);
  const names = missing.map(
    ({ generation, ...edge }) =>
      `${nameOf(edge)} (${edge.location}: ${generation === null ? "has not said" : generation === 0 ? "none" : `generation ${generation}`})`,
  );
  return `${count}/${of}${of === 0 ? " edges: none runs" : ""}${names.length > 0 ? `; missing: ${names.join(", ")}` : ""}`;
}

function details({ live: now, fleet, ...row }: LiveRow): string {
  const lines = Object.entries({ ...row, names: row.names.join(", ") })
    .filter(([, value]) => value !== null && value !== "")
    .map(([name, value]) => `${name.padEnd(16)}${String(value)}`);
  const failure = (now?.failure as { message?: string } | undefined)?.message;
  return [
    ...lines,
    ...(fleet ? [`${"live on".padEnd(16)}${liveText(fleet)}`] : []),
    `${"edge".padEnd(16)}${now ? "running" : "not running, or not at listen.admin"}`,
    ...(typeof now?.nextAttemptAt === "number"
      ? [`${"next attempt".padEnd(16)}${date(now.nextAttemptAt)}`]
      : []),
    ...(failure ? [`${"last failure".padEnd(16)}${failure}`] : []),
  ].join("\n");
}
