/** `npm run bench -- far`: one large body from or to a client far away, over HTTP/1.1 and HTTP/2 in turns. */
import { writeFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type Backends, BODY_MIB, MIB, startBackends } from "../backends.ts";
import { coreBusySeconds, cpuSeconds } from "../cpu.ts";
import {
  type Direction,
  type FarRow,
  farTable,
  isWhole,
  type Pair,
  ratios,
  type Transfer,
  WAYS,
  type Way,
} from "../far-report.ts";
import { h2load } from "../load.ts";
import { describeMachine, missingPrograms, parseCoreList } from "../machine.ts";
import { chosen, makePlace, type Place } from "../place.ts";
import { type Child, launch, stopAll } from "../process.ts";
import { median } from "../stats.ts";
import { caddy } from "../targets/caddy.ts";
import { nginx } from "../targets/nginx.ts";
import { skerryOnBun, skerryOnDeno, skerryOnNode } from "../targets/skerry.ts";
import { HOSTNAME, type RunningTarget, startTarget, type Target } from "../targets/target.ts";

const TARGETS: readonly Target[] = [nginx, caddy, skerryOnNode, skerryOnBun, skerryOnDeno];
/** The others' windows for uploads are small: one takes nginx two minutes, and Caddy ten seconds. */
const USUAL = "node,bun,deno";
const DIRECTIONS: readonly Direction[] = ["up", "down"];
const RELAY = fileURLToPath(new URL("../programs/relay.ts", import.meta.url));
/**
 * What h2load lets come over HTTP/2: more than a whole body. It gives a window back by halves, so that with 16 MiB no more than 8
 * come in a round trip, and that would be all that is measured of a download.
 */
const WINDOW_BITS = [30, 30] as const;
const MOST_ROUNDS = 50;
const MOST_ROUND_TRIP_MS = 1000;
const READY_TRIES = 200;

interface FarOptions {
  readonly targets: readonly Target[];
  readonly directions: readonly Direction[];
  readonly mib: number;
  readonly rounds: number;
  readonly roundTripMs: number;
  readonly json: string | undefined;
}

function readOptions(args: string[]): FarOptions {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string", default: USUAL },
      direction: { type: "string", default: "" },
      mib: { type: "string", default: "100" },
      rounds: { type: "string", default: "7" },
      "round-trip": { type: "string", default: "80" },
      json: { type: "string" },
    },
  });
  const whole = (name: string, text: string, most: number): number => {
    const value = Number(text);
    if (!Number.isInteger(value) || value < 1 || value > most)
      throw new Error(`${name} must be a whole number from 1 to ${most}, got "${text}"`);
    return value;
  };
  const mib = Number(values.mib);
  if (!BODY_MIB.includes(mib))
    throw new Error(`--mib must be one of ${BODY_MIB.join(", ")}, got "${values.mib}"`);
  return {
    targets: chosen(TARGETS, values.only, ({ name }) => name, "proxy"),
    directions: chosen(DIRECTIONS, values.direction, (direction) => direction, "direction"),
    mib,
    rounds: whole("--rounds", values.rounds, MOST_ROUNDS),
    roundTripMs: whole("--round-trip", values["round-trip"], MOST_ROUND_TRIP_MS),
    json: values.json,
  };
}

interface Far {
  readonly running: RunningTarget;
  readonly relay: Child;
  /** The relay's. */
  readonly port: number;
}

async function startFar(target: Target, options: FarOptions, place: Place, backends: Backends): Promise<Far> {
  const { cores } = place;
  const site = { ...place, core: cores.proxy, backends: backends.ports, rules: true };
  const running = await startTarget(target, site);
  const command = [process.execPath, RELAY, String(running.site.port), String(options.roundTripMs / 2)];
  const relay = launch("relay", command, { cores: cores.load });
  for (let tries = 0; tries < READY_TRIES && relay.running(); tries++) {
    const port = /relay (\d+)/.exec(relay.output().stdout)?.[1];
    if (port !== undefined) return { running, relay, port: Number(port) };
    await wait(20);
  }
  throw new Error(`the relay did not start: ${relay.output().stderr}`);
}

async function transfer(
  far: Far,
  way: Way,
  direction: Direction,
  mib: number,
  place: Place,
  backends: Backends,
): Promise<Transfer> {
  const loadCores = parseCoreList(place.cores.load);
  const readings = (): number[] => [
    performance.now() / 1000,
    cpuSeconds(far.running.pids()),
    cpuSeconds([far.relay.pid]),
    loadCores.reduce((sum, core) => sum + coreBusySeconds(core), 0) / loadCores.length,
  ];
  const before = readings();
  const load = h2load({
    url: `https://${HOSTNAME}:${far.port}/${direction === "down" ? "body" : "sink"}-${mib}`,
    cores: place.cores.load,
    folder: place.folder,
    protocol: way,
    connections: 1,
    requests: 1,
    windowBits: WINDOW_BITS,
    ...(direction === "up" ? { upload: backends.bodyFile(mib) } : {}),
  });
  const { seconds, errors, requests, bytes } = await load.result();
  const [elapsed = 0, proxy = 0, relay = 0, busy = 0] = readings().map((value, at) => value - before[at]!);
  const short = requests !== 1 || (direction === "down" && (bytes ?? 0) < mib * MIB) ? 1 : 0;
  return {
    seconds,
    cpuUsPerMib: (proxy / mib) * 1e6,
    proxyPercent: (100 * proxy) / elapsed,
    relayPercent: (100 * relay) / elapsed,
    loadPercent: (100 * busy) / elapsed,
    errors: errors + short,
  };
}

/** Every proxy once in a round, in each direction; who of a pair begins changes from round to round. */
async function measure(
  fars: readonly Far[],
  direction: Direction,
  options: FarOptions,
  place: Place,
  backends: Backends,
): Promise<FarRow[]> {
  const { mib, rounds } = options;
  const pairs = fars.map((): Pair[] => []);
  // The first round warms up and is not counted.
  for (let round = 0; round <= rounds; round++)
    for (const [at, far] of fars.entries()) {
      const one = await transfer(far, WAYS[round % 2]!, direction, mib, place, backends);
      const other = await transfer(far, WAYS[(round + 1) % 2]!, direction, mib, place, backends);
      const pair: Pair = round % 2 === 0 ? { h1: one, h2: other } : { h1: other, h2: one };
      if (round > 0) pairs[at]!.push(pair);
    }
  return fars.map(({ running: { target } }, at) => ({
    target: target.name,
    label: target.label(),
    direction,
    mib,
    pairs: pairs[at]!,
  }));
}

/** Prints a table for each direction. Resolves with 1 where a transfer failed, and with 2 where the options are wrong. */
export async function benchFar(args: string[]): Promise<number> {
  let options: FarOptions;
  try {
    options = readOptions(args);
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : error}\n`);
    return 2;
  }
  const programs = ["nginx", "openssl", "taskset", "h2load"];
  const missing = missingPrograms([...programs, ...options.targets.flatMap((target) => target.programs)]);
  if (missing !== undefined) {
    process.stderr.write(`Some programs are missing. On Debian:\n\n  ${missing}\n`);
    return 2;
  }
  const place = makePlace("far");
  try {
    const backends = await startBackends(place.folder, place.cores.load);
    const fars: Far[] = [];
    for (const target of options.targets) fars.push(await startFar(target, options, place, backends));
    const rows: FarRow[] = [];
    for (const direction of options.directions) {
      const title = `${options.mib} MiB ${direction}, a round trip of ${options.roundTripMs} ms, one connection, medians of ${options.rounds} pairs`;
      process.stderr.write(`${title}\n`);
      const measured = await measure(fars, direction, options, place, backends);
      rows.push(...measured);
      process.stdout.write(`\n**${title}**\n\n${farTable(measured)}\n`);
    }
    const { mib, rounds, roundTripMs } = options;
    const report = {
      date: new Date().toISOString(),
      machine: describeMachine(),
      options: { mib, rounds, roundTripMs },
      rows: rows.map((row) => ({ ...row, ratios: ratios(row), medianRatio: median(ratios(row)) })),
    };
    if (options.json) writeFileSync(options.json, `${JSON.stringify(report, null, 1)}\n`);
    return rows.every(isWhole) ? 0 : 1;
  } finally {
    await stopAll();
  }
}
