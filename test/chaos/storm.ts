/** Carries out a plan while visitors come, waits until all is well again, and says what was not as it must be. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { eventually } from "../support/processes.ts";
import { strike } from "./blows.ts";
import { fallen, orders } from "./check.ts";
import { startLoad } from "./load.ts";
import { steps, TRACKS, type Track } from "./plan.ts";
import { lifeOf, NAMES, RUNTIMES, type Seat, startWorld, type World } from "./world.ts";

export interface Report {
  readonly seed: number;
  readonly timeline: readonly string[];
  /** What was not as it must be. */
  readonly broken: readonly string[];
  readonly summary: string;
}

const WELL_MS = 90_000;
const LOOK_MS = 300;

export async function storm(options: { seed: number; ms: number; echo?: boolean }): Promise<Report> {
  const began = performance.now();
  const timeline: string[] = [];
  const broken: string[] = [];
  const say = (line: string): void => {
    const text = `${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s  ${line}`;
    timeline.push(text);
    if (options.echo) console.log(text);
  };
  const world = await startWorld();
  try {
    await eventually("all have certificates", () => agreed(world), WELL_MS);
    say(`three edges, ${NAMES.length} hosts, two agents are ready`);
    const load = startLoad(world.seats);
    const watched = watchGenerations(world, broken);
    const until = performance.now() + options.ms;
    const sizes = { edges: RUNTIMES.length, agents: world.agents.length, nats: 3, hosts: NAMES.length };
    const doing = { world, load, say, broken, revokes: [] as number[] };
    let blows = 0;
    const run = async (track: Track): Promise<void> => {
      for (const { afterMs, blow } of steps(options.seed, track, sizes)) {
        await pause(afterMs);
        if (performance.now() >= until || broken.length > 0) return;
        blows++;
        await strike(blow, doing).catch((error: unknown) => {
          broken.push(`${JSON.stringify(blow)}: ${String(error)}`);
        });
        if (load.failures.length > 0) return;
      }
    };
    await Promise.all(TRACKS.map(run));
    say("no more blows");
    await eventually("all is well again", () => agreed(world), WELL_MS).catch(async (error: unknown) => {
      broken.push(`${String(error)}: ${await state(world)}`);
    });
    for (const seat of world.seats) await world.whole(seat);
    say("all is well again");
    await load.stop();
    const polls = await watched.stop();
    broken.push(...load.failures.map((failure) => `failed request: ${failure}`));
    broken.push(...fallen(world).map((line) => `an older certificate: ${line}`));
    const { made, extra, unexplained } = orders(world);
    broken.push(...unexplained.map((line) => `a duplicate order: ${line}`));
    for (const { index, lives } of world.seats)
      for (const { edge, ended } of lives)
        if (!ended && !edge.process.running()) broken.push(`place-${index} ended by itself`);
    const revoked = doing.revokes.map((ms) => `${(ms / 1000).toFixed(1)} s`).join(", ");
    const summary =
      `seed ${options.seed}: ${blows} blows in ${Math.round(options.ms / 1000)} s; ${load.count} requests, ` +
      `${load.failures.length} failed, ${load.excused} cut off with an edge that was killed; ${made} orders, ${extra} of them ` +
      `repeated for a blow; ${polls} looks at generations; revoked tokens refused after healing: ${revoked || "none revoked"}`;
    say(summary);
    return { seed: options.seed, timeline, broken, summary };
  } catch (error) {
    broken.push(String(error));
    return { seed: options.seed, timeline, broken, summary: "it did not come to an end" };
  } finally {
    if (broken.length > 0) broken.push(`logs of all edges: ${keepLogs(world)}`);
    await world.close();
  }
}

/** A file for each run of each edge. */
function keepLogs({ seats }: World): string {
  const folder = mkdtempSync(join(tmpdir(), "skerry-chaos-logs-"));
  for (const { index, lives } of seats)
    for (const [run, { edge }] of lives.entries())
      writeFileSync(join(folder, `place-${index}-${run + 1}.log`), edge.process.output());
  return folder;
}

interface Shown {
  readonly host: string;
  readonly state: string;
  readonly generation?: number;
}

async function shown(seat: Seat): Promise<Shown[]> {
  const answer = await fetch(`http://127.0.0.1:${lifeOf(seat).edge.admin.port}/certificates`);
  return ((await answer.json()) as { certificates: Shown[] }).certificates;
}

/** All edges serve the same, newest, valid certificates, and have their storage. */
async function agreed(world: World): Promise<boolean> {
  const lists = await Promise.all(world.seats.map(shown));
  for (const seat of world.seats) {
    const { edge } = lifeOf(seat);
    const body = await (await fetch(`http://127.0.0.1:${edge.admin.port}/metrics`)).text();
    if (!body.includes("skerry_storage_away 0")) return false;
  }
  return NAMES.every((name) => {
    const rows = lists.map((list) => list.find(({ host }) => host === name));
    return rows.every((row) => row?.state === "valid" && row.generation === rows[0]?.generation);
  });
}

async function state(world: World): Promise<string> {
  const lists = await Promise.all(world.seats.map((seat) => shown(seat).catch(() => [])));
  return JSON.stringify(
    lists.map((list) => list.map(({ host, state, generation }) => [host, state, generation])),
  );
}

/** What is stored never gets older. */
function watchGenerations(world: World, broken: string[]): { stop(): Promise<number> } {
  const seen = new Map<string, number>();
  let running = true;
  let looks = 0;
  const looking = (async () => {
    while (running) {
      for (const host of NAMES) {
        const bytes = await world.storage.load(`certificates/${host}`).catch(() => undefined);
        // Its own copy, while storage is away.
        if (!bytes || world.storage.away?.()) continue;
        const { generation } = JSON.parse(new TextDecoder().decode(bytes)) as { generation: number };
        const before = seen.get(host) ?? 0;
        if (generation < before)
          broken.push(`stored: ${host} fell from ${before} to ${generation} at ${new Date().toISOString()}`);
        seen.set(host, generation);
        looks++;
      }
      await pause(LOOK_MS);
    }
  })();
  return {
    async stop() {
      running = false;
      await looking;
      return looks;
    },
  };
}
