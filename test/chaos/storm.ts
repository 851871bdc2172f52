/** Carries out a plan while visitors come, waits until all is well again, and says what was not as it must be. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { visit } from "../runtime/client.ts";
import { eventually } from "../support/processes.ts";
import { fallen, orders } from "./check.ts";
import { type Load, startLoad } from "./load.ts";
import { type Blow, steps, TRACKS, type Track } from "./plan.ts";
import { HOSTS, lifeOf, NAMES, RUNTIMES, type Seat, startWorld, type World } from "./world.ts";

export interface Report {
  readonly seed: number;
  readonly timeline: readonly string[];
  /** What was not as it must be. */
  readonly broken: readonly string[];
  readonly summary: string;
}

/** A token that is revoked is refused so soon after the edge is tied to storage again. */
export const REVOKED_MS = 15_000;
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

interface Doing {
  readonly world: World;
  readonly load: Load;
  readonly say: (line: string) => void;
  readonly broken: string[];
  readonly revokes: number[];
}

async function strike(blow: Blow, doing: Doing): Promise<void> {
  const { world, say } = doing;
  switch (blow.kind) {
    case "kill edge":
    case "stop edge":
      return edgeGoes(blow, doing);
    case "kill agent":
    case "stop agent": {
      // The other one takes its visitors, so it must be there.
      for (const seat of world.seats) await world.whole(seat);
      say(`${blow.kind} ${blow.index} for ${blow.forMs} ms`);
      const agent = world.agents[blow.index];
      await (blow.kind === "kill agent" ? agent?.killAll() : agent?.stop("SIGTERM"));
      world.agents[blow.index] = undefined;
      await pause(blow.forMs);
      world.startAgent(blow.index);
      for (const seat of world.seats) await world.whole(seat);
      return say(`agent ${blow.index} is back at all edges`);
    }
    case "kill nats":
    case "kill all nats": {
      const index = blow.kind === "kill nats" ? blow.index : undefined;
      say(`${blow.kind}${index === undefined ? "" : ` ${index}`} for ${blow.forMs} ms`);
      world.hurt(blow.kind);
      await world.nats.kill(index);
      await pause(blow.forMs);
      await world.nats.start();
      world.hurt("nats is back");
      return say("nats is whole");
    }
    case "kill pebble":
      say(`kill pebble for ${blow.forMs} ms`);
      world.hurt(blow.kind);
      await world.pebble.stop();
      await pause(blow.forMs);
      await world.pebble.start();
      world.hurt("pebble is back");
      return say("pebble is back, with nothing remembered");
    case "partition": {
      const seat = world.seats[blow.index]!;
      say(`place-${blow.index} is cut off from nats (${blow.how}) for ${blow.forMs} ms`);
      part(world, seat, blow.how);
      await pause(blow.forMs);
      heal(world, seat);
      return say(`place-${blow.index} may reach nats again`);
    }
    case "revoke":
      return revoke(blow, doing);
    case "renew": {
      const { edge } = lifeOf(world.seats[blow.index]!);
      // Whether it can be had now is another matter.
      const answer = await fetch(
        `http://127.0.0.1:${edge.admin.port}/certificates/${NAMES[blow.host]}/renew`,
        {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ force: true }),
          signal: AbortSignal.timeout(3000),
        },
      ).catch(() => undefined);
      say(`place-${blow.index} renews ${NAMES[blow.host]}: ${answer?.status ?? "no answer yet"}`);
      return;
    }
    default:
      return blow satisfies never;
  }
}

async function edgeGoes(blow: Blow & { kind: "kill edge" | "stop edge" }, doing: Doing): Promise<void> {
  const { world, load, say, broken } = doing;
  const seat = world.seats[blow.index]!;
  const life = lifeOf(seat);
  say(`${blow.kind} ${blow.index} (${life.edge.runtime}) for ${blow.forMs} ms`);
  world.hurt(blow.kind);
  if (blow.kind === "kill edge") {
    life.killedAt = Date.now();
    life.ended = true;
    seat.open = false;
    await life.edge.stop("SIGKILL");
  } else {
    // As one is taken out of DNS first; what is under way then must be finished.
    seat.open = false;
    await load.idle(seat);
    const slow = load.ask(seat, HOSTS.tunnel, "/slow?ms=700");
    await eventually("it is under way", async () => {
      const answer = await fetch(`http://127.0.0.1:${life.edge.admin.port}/metrics`);
      return /^skerry_requests_in_flight [1-9]/m.test(await answer.text());
    });
    life.ended = true;
    const { code } = await life.edge.stop("SIGTERM");
    await slow;
    if (code !== 0) broken.push(`place-${blow.index} ended with ${code} when it was told to stop`);
  }
  seat.joined = false;
  await pause(blow.forMs);
  await world.start(seat);
  say(`place-${blow.index} is back`);
  await world.whole(seat);
  seat.joined = true;
  say(`place-${blow.index} has its agents`);
}

/** Whatever the edge sends to any server of NATS does not arrive. */
function part(world: World, { relays }: Seat, how: "stall" | "cut"): void {
  world.hurt("partition");
  for (const relay of relays) {
    relay.stall();
    if (how === "cut") relay.cut();
  }
}
function heal(world: World, { relays }: Seat): void {
  world.hurt("healed");
  for (const relay of relays) relay.go();
}

/** A token is revoked while an edge is cut off: good there until it is back, and no longer. */
async function revoke(
  blow: Blow & { kind: "revoke" },
  { world, say, broken, revokes }: Doing,
): Promise<void> {
  const seat = world.seats[blow.index]!;
  const guest = await world.guest();
  const has = (at: Seat): Promise<number> => world.containers(lifeOf(at), "guest").catch(() => 0);
  for (const each of world.seats)
    await eventually(
      `place-${each.index} has the guest`,
      async () => !each.open || (await has(each)) > 0,
      60_000,
    );
  const life = lifeOf(seat);
  say(`place-${blow.index} is cut off from nats, and a token is revoked`);
  part(world, seat, "stall");
  try {
    await eventually("the token is revoked", () => world.tokens.revoke(guest.id).catch(() => false), 15_000);
    for (const each of world.seats)
      if (each !== seat)
        await eventually(
          `place-${each.index} let the guest go`,
          async () => !each.open || (await has(each)) === 0,
        );
    await pause(blow.forMs);
    const kept = seat.open && !life.ended;
    if (kept) {
      const { status } = await visit({ port: seat.https, host: HOSTS.guest }).catch(() => ({ status: 0 }));
      if (status !== 200 && !life.ended) broken.push(`the edge that is cut off lost its agent: ${status}`);
    }
  } finally {
    heal(world, seat);
  }
  const healedAt = performance.now();
  await eventually(
    `place-${blow.index} let the guest go`,
    async () => !seat.open || (await has(seat)) === 0,
    REVOKED_MS,
  );
  const tookMs = performance.now() - healedAt;
  if (!life.ended) revokes.push(tookMs);
  say(`place-${blow.index} is tied to nats again, and refuses the token after ${Math.round(tookMs)} ms`);
  await guest.child.killAll();
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
