/** `npm run bench`: Skerry beside other proxies, on one machine, in interleaved rounds. See README.md. */
import { readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { startBackends } from "./backends.ts";
import { benchCertificates } from "./certs.ts";
import { benchFleet } from "./fleet-scale.ts";
import { describeMachine, missingPrograms } from "./machine.ts";
import { Fleet, measureCase, type Plan } from "./measure.ts";
import { chosen, makePlace } from "./place.ts";
import { stopAll } from "./process.ts";
import { type CaseReport, caseTable, intoPage, markdown, type Report, reportCase } from "./report.ts";
import { SCENARIOS } from "./scenarios/all.ts";
import type { Scenario } from "./scenarios/scenario.ts";
import { svg } from "./svg.ts";
import { BASELINES, TARGETS } from "./targets/all.ts";
import type { Target } from "./targets/target.ts";

const HELP = `npm run bench -- [SCENARIO…] [options]

Scenarios (all of them by default):
${SCENARIOS.map(({ name, about }) => `  ${name.padEnd(12)}${about}`).join("\n")}
  certs       10,000 stored certificates: time to ready, memory, first handshakes (--hosts N, --handshakes N)
  fleet       10,000 hosts and 20 edges on one NATS: how soon a change is everywhere, memory, traffic (--hosts, --edges, --changes, --agents)
  balance     one of four servers is slow, busy or hangs; alone, with --only, --case, --json, --page
  failover    one of four servers is killed, stopped or restarted; alone, with --only, --case, --json, --page
  far         100 MiB up and down a line with a round trip of 80 ms, HTTP/1.1 and HTTP/2 in turns; alone, with --only, --direction, --mib, --rounds, --round-trip, --json
  tunnel      the same server over TCP and through tunnels, and how soon a wormhole joins; alone, with --only LIST

Options:
  --only LIST     proxies, by comma: ${TARGETS.map(({ name }) => name).join(",")}
  --rounds N      rounds of every proxy (default 5)
  --seconds S     length of one sample (default 4)
  --plain         without the two middlewares, which every proxy otherwise has in its own way
  --json FILE     everything measured, every sample
  --svg FILE      a chart of each case's first metric
  --page FILE     put the tables between the marks of a Markdown page
  --help
`;

const MOST_ROUNDS = 50;
const MOST_SECONDS = 60;

interface Options {
  readonly scenarios: readonly Scenario[];
  readonly targets: readonly Target[];
  readonly rounds: number;
  readonly seconds: number;
  readonly rules: boolean;
  readonly json: string | undefined;
  readonly svg: string | undefined;
  readonly page: string | undefined;
}

/** Undefined where only help was asked for; throws on what it does not know. */
function readOptions(args: string[]): Options | undefined {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      only: { type: "string" },
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "4" },
      plain: { type: "boolean", default: false },
      json: { type: "string" },
      svg: { type: "string" },
      page: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return undefined;
  return {
    scenarios: chosen(SCENARIOS, positionals.join(","), ({ name }) => name, "scenario"),
    targets: chosen(TARGETS, values.only ?? "", ({ name }) => name, "proxy"),
    rounds: bounded("--rounds", values.rounds, MOST_ROUNDS),
    seconds: bounded("--seconds", values.seconds, MOST_SECONDS),
    rules: !values.plain,
    json: values.json,
    svg: values.svg,
    page: values.page,
  };
}

function bounded(name: string, text: string, most: number): number {
  const value = Number(text);
  if (!(value >= 1 && value <= most)) throw new Error(`${name} must be from 1 to ${most}, got "${text}"`);
  return value;
}

async function main(options: Options): Promise<number> {
  // An hour of measuring should not end in a page that cannot be written.
  if (options.page) intoPage(readFileSync(options.page, "utf8"), "");
  const place = makePlace("bench");
  const say = (text: string): void => {
    process.stderr.write(`${text}\n`);
  };
  const backends = await startBackends(place.folder, place.cores.load);
  const plan: Plan = { ...options, ...place, baselines: BASELINES, backends, say };
  const fleet = new Fleet(plan);
  const cases: CaseReport[] = [];
  for (const scenario of options.scenarios) {
    for (const case_ of scenario.cases) {
      // h1 and h1-512 share a case: in a run of both it is measured once.
      if (cases.some(({ id }) => id === case_.id)) continue;
      say(`${case_.title}`);
      const rows = await measureCase(case_, options.targets, fleet, plan);
      const report = reportCase(scenario.name, case_, rows, BASELINES);
      cases.push(report);
      process.stdout.write(`\n${report.title}\n\n${caseTable(report, BASELINES)}\n\n`);
    }
  }
  await fleet.stop();
  await backends.stop();

  const { rounds, seconds, rules } = options;
  const report: Report = {
    date: new Date().toISOString(),
    machine: describeMachine(),
    options: { rounds, seconds, rules },
    cases,
  };
  if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 1)}\n`);
  if (options.svg) writeFileSync(options.svg, svg(report, BASELINES[0] ?? "nginx"));
  if (options.page) {
    writeFileSync(options.page, intoPage(readFileSync(options.page, "utf8"), markdown(report, BASELINES)));
  }
  return cases.some(({ rows }) => rows.some((row) => row.errors > 0 || row.rounds === 0)) ? 1 : 0;
}

if (process.argv[2] === "certs") {
  // Of Skerry alone, and of no proxying: it has a way of its own.
  await benchCertificates(process.argv.slice(3));
  process.exit(0);
}
if (process.argv[2] === "fleet") {
  await benchFleet(process.argv.slice(3));
  process.exit(0);
}
if (process.argv[2] === "balance" || process.argv[2] === "failover") {
  const args = process.argv.slice(3);
  if (process.argv[2] === "balance")
    process.exit(await (await import("./scenarios/balance.ts")).benchBalance(args));
  process.exit(await (await import("./scenarios/failover.ts")).benchFailover(args));
}
if (process.argv[2] === "far") {
  const { benchFar } = await import("./scenarios/far.ts");
  process.exit(await benchFar(process.argv.slice(3)));
}
if (process.argv[2] === "tunnel") {
  const { benchTunnel } = await import("./tunnel.ts");
  process.exit(await benchTunnel(process.argv.slice(3)));
}
let options: Options | undefined;
try {
  options = readOptions(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n\n${HELP}`);
  process.exit(2);
}
if (options === undefined) {
  process.stdout.write(HELP);
  process.exit(0);
}
const needed = ["nginx", "openssl", "taskset", "wrk", "h2load"];
const missing = missingPrograms([...needed, ...options.targets.flatMap((target) => target.programs)]);
if (missing !== undefined) {
  process.stderr.write(`Some programs are missing. On Debian:\n\n  ${missing}\n`);
  process.exit(2);
}

try {
  process.exitCode = await main(options);
} catch (error) {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : error}\n`);
  process.exitCode = 1;
} finally {
  await stopAll();
}
