/** Four servers behind each proxy, one of which falls ill under load: what clients see of it. Used by balance and failover. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { parseArgs } from "node:util";
import { coreBusySeconds, cpuSeconds } from "../cpu.ts";
import { faultTable, parseRequests, type Seen, summarise } from "../fault-report.ts";
import { Ill, untilShared } from "../ill.ts";
import { describeMachine, parseCoreList } from "../machine.ts";
import { chosen, makePlace, type Place } from "../place.ts";
import { launch } from "../process.ts";
import { intoPage } from "../report.ts";
import { caddy } from "../targets/caddy.ts";
import { haproxy } from "../targets/haproxy.ts";
import { nginx } from "../targets/nginx.ts";
import { skerryOnBun, skerryOnDeno, skerryOnNode } from "../targets/skerry.ts";
import { type RunningTarget, startTarget, type Target } from "../targets/target.ts";
import * as tuned from "./faults-configs.ts";

const SERVERS = 4;
const CONNECTIONS = 16;
/** Just-in-time compilers, pools of connections and balancers settle; then the same load is the measure of calm. */
const WARM_MS = 4000;
const CALM_MS = 3000;
/** Beyond it a connection of the load gives up, and its request failed. */
const PATIENCE_S = 8;

export interface FaultCase {
  /** For `--case`. */
  readonly id: string;
  readonly title: string;
  /** How long to look, from the fault on. */
  readonly seconds: number;
  /** Makes `ill` ill while load runs. Resolves at the moment from which it is well again, or never was not. */
  run(ill: Ill): Promise<void>;
  /** How often it is killed and comes back. @default 0 */
  readonly spares?: number;
  /** Whether to measure how long the ill one takes to get its share back. */
  readonly returns?: boolean;
}

const TARGETS: readonly Target[] = [
  { ...nginx, prepare: tuned.nginx },
  { ...haproxy, prepare: tuned.haproxy },
  { ...caddy, prepare: tuned.caddy },
  ...[skerryOnNode, skerryOnBun, skerryOnDeno].map((target) => ({
    ...target,
    prepare: tuned.skerry(target),
  })),
];
const USUAL = "nginx,haproxy,caddy,node";
const SKERRY: readonly string[] = ["node", "bun", "deno"];

function startLoad(
  url: string,
  seconds: number,
  { folder, cores }: Place,
): { log: string; over: Promise<string> } {
  const log = join(folder, "requests.log");
  rmSync(log, { force: true });
  const args = ["--h1", "-t1", `-c${CONNECTIONS}`, "-m1", `-D${seconds}`, `-N${PATIENCE_S}`];
  const load = launch("h2load", ["h2load", ...args, `--log-file=${log}`, `${url}/`], {
    cores: cores.load,
    keepAll: true,
  });
  const over = load.exited.then((code) => {
    const { stdout, stderr } = load.output();
    if (code !== 0) throw new Error(`h2load ended with ${code}: ${stderr.trim().slice(-300)}`);
    return stdout;
  });
  return { log, over };
}

async function measure(
  running: RunningTarget,
  case_: FaultCase,
  servers: readonly Ill[],
  place: Place,
): Promise<Seen> {
  const { proxy, load } = place.cores;
  const { target } = running;
  const started = startLoad(running.url, (WARM_MS + CALM_MS) / 1000 + case_.seconds, place);
  await wait(WARM_MS);
  const warmAt = Date.now();
  await wait(CALM_MS);
  const faultAt = Date.now();
  const busy = (): number[] => [proxy, ...parseCoreList(load)].map(coreBusySeconds);
  const [before, ownBefore] = [busy(), cpuSeconds(running.pids())];
  const over = new AbortController();
  const sharing = case_
    .run(servers.at(-1)!)
    .then(() => (case_.returns === true ? untilShared(servers, over.signal) : undefined));
  await wait(case_.seconds * 1000 - (Date.now() - faultAt));
  const [after, ownAfter] = [busy(), cpuSeconds(running.pids())];
  over.abort();
  const shareMs = await sharing;
  const report = await started.over;
  // Where a connection broke, h2load says so in its report, but not always in its log.
  const errored = Number(/(\d+) errored/.exec(report)?.[1] ?? 0);
  const seen = summarise(parseRequests(readFileSync(started.log, "latin1")), { warmAt, faultAt });
  const [proxyBusy = 0, ...loadBusy] = after.map((seconds, at) => (seconds - before[at]!) / case_.seconds);
  return {
    target: target.name,
    label: target.label(),
    ...seen,
    failed: Math.max(seen.failed, errored),
    shareMs,
    foreignPercent: Math.max(0, 100 * (proxyBusy - (ownAfter - ownBefore) / case_.seconds)),
    loadPercent: 100 * Math.max(...loadBusy),
  };
}

async function measureOne(target: Target, case_: FaultCase, place: Place): Promise<Seen> {
  const { cores, certPath, keyPath, folder } = place;
  const spares = (at: number): number => (at === SERVERS - 1 ? (case_.spares ?? 0) : 0);
  const servers = await Promise.all(
    Array.from({ length: SERVERS }, (_, at) => Ill.start(cores.load, spares(at))),
  );
  const backends = servers.map(({ port }) => port) as unknown as readonly [number, number];
  const site = { folder, core: cores.proxy, backends, certPath, keyPath, rules: false };
  const running = await startTarget(target, site);
  try {
    return await measure(running, case_, servers, place);
  } finally {
    await Promise.all([running.stop(), ...servers.map((server) => server.stop())]);
  }
}

/** Prints a table for each case. Resolves with 1 where Skerry failed a request, and with 2 where the options are wrong. */
export async function benchFaults(
  name: string,
  cases: readonly FaultCase[],
  args: string[],
): Promise<number> {
  const options = {
    only: { type: "string", default: USUAL },
    case: { type: "string", default: "" },
    json: { type: "string" },
    page: { type: "string" },
  } as const;
  let wanted: { values: { only: string; case: string; json?: string; page?: string } };
  let targets: Target[];
  let picked: FaultCase[];
  try {
    wanted = parseArgs({ args, options });
    targets = chosen(TARGETS, wanted.values.only, (target) => target.name, "proxy");
    picked = chosen(cases, wanted.values.case, ({ id }) => id, "case");
    if (wanted.values.page) intoPage(readFileSync(wanted.values.page, "utf8"), "", name);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    return 2;
  }
  const place = makePlace(name);
  const { processor, system, kernel } = describeMachine();
  const date = new Date().toISOString();
  const tables: string[] = [
    `Measured ${date.slice(0, 10)} on ${processor}, proxy on one core, load and servers on the other, ${system}, Linux ${kernel}.`,
  ];
  const all: { id: string; title: string; rows: Seen[] }[] = [];
  for (const case_ of picked) {
    const rows: Seen[] = [];
    for (const target of targets) {
      process.stderr.write(`${case_.title}: ${target.name}\n`);
      rows.push(await measureOne(target, case_, place));
    }
    all.push({ id: case_.id, title: case_.title, rows });
    const table = `**${case_.title}**\n\n${faultTable(rows, case_.returns === true)}`;
    tables.push(table);
    process.stdout.write(`\n${table}\n`);
  }
  const { json, page } = wanted.values;
  if (json) writeFileSync(json, `${JSON.stringify({ date, cases: all }, null, 1)}\n`);
  if (page) writeFileSync(page, intoPage(readFileSync(page, "utf8"), tables.join("\n\n"), name));
  const ours = all.flatMap(({ rows }) => rows.filter(({ target }) => SKERRY.includes(target)));
  return ours.some(({ failed }) => failed > 0) ? 1 : 0;
}
