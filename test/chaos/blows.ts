/** What is done to a fleet, and what must hold while it is done. */
import { setTimeout as pause } from "node:timers/promises";
import { visit } from "../runtime/client.ts";
import { eventually } from "../support/processes.ts";
import type { Load } from "./load.ts";
import type { Blow } from "./plan.ts";
import { HOSTS, lifeOf, NAMES, type Seat, type World } from "./world.ts";

/** A token that is revoked is refused so soon after the edge is tied to storage again. */
const REVOKED_MS = 15_000;

export interface Doing {
  readonly world: World;
  readonly load: Load;
  readonly say: (line: string) => void;
  readonly broken: string[];
  readonly revokes: number[];
}

export async function strike(blow: Blow, doing: Doing): Promise<void> {
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
    case "split nats": {
      say(`nats ${blow.index} is cut off from the others (${blow.how}) for ${blow.forMs} ms`);
      world.hurt(blow.kind);
      const join = world.nats.isolate(blow.index, blow.how);
      await pause(blow.forMs);
      join();
      await world.nats.start();
      world.hurt("nats is whole");
      return say("nats is whole");
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
  await eventually(
    "all that are open have the guest",
    async () => {
      const all = await Promise.all(world.seats.map(async (each) => !each.open || (await has(each)) > 0));
      return all.every(Boolean);
    },
    60_000,
  );
  const life = lifeOf(seat);
  // One that opened this moment cannot lose what it never had.
  const had = (await has(seat)) > 0;
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
    const kept = had && seat.open && !life.ended;
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
  if (had && !life.ended) revokes.push(tookMs);
  say(`place-${blow.index} is tied to nats again, and refuses the token after ${Math.round(tookMs)} ms`);
  await guest.child.killAll();
}
