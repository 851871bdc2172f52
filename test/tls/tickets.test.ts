import { expect, test } from "vitest";
import { createLog } from "../../src/log.ts";
import { createMemoryStorage } from "../../src/storage/memory.ts";
import { createTicketKeys } from "../../src/tls/tickets.ts";
import { manualClock } from "../support/manual-clock.ts";

function process(storage = createMemoryStorage(), clock = manualClock()) {
  const applied: string[] = [];
  const lines: string[] = [];
  const keys = createTicketKeys({
    storage,
    clock,
    random: () => 0.5,
    log: createLog({ write: (line) => void lines.push(line) }),
    apply: (bytes) => void applied.push(`${bytes.length}:${bytes.toString("hex")}`),
  });
  return { keys, applied, lines, storage, clock };
}

/** Until the clock's work, which waits for storage, is done. */
const later = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("processes that share storage share the keys of tickets, and a restart keeps them", async () => {
  const first = process();
  const second = process(first.storage, first.clock);
  await Promise.all([first.keys.start(), second.keys.start()]);
  expect(first.applied).toEqual(second.applied);
  expect(first.applied[0]).toMatch(/^48:/);
  const third = process(first.storage, first.clock);
  await third.keys.start();
  expect(third.applied).toEqual(first.applied);
});

test("keys are made anew after twelve hours, and a peer's are followed", async () => {
  const first = process();
  await first.keys.start();
  const second = process(first.storage, first.clock);
  await second.keys.start();
  for (let minutes = 0; minutes <= 13 * 60; minutes += 10) {
    await first.clock.advance(600_000);
    await later();
  }
  expect(first.applied).toHaveLength(2);
  expect(second.applied).toEqual(first.applied);
  await first.keys.close();
  await second.keys.close();
});

test("damaged keys, and keys from the future, are replaced; storage that is away is survived", async () => {
  const { storage, clock } = process();
  const encode = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  for (const value of [
    "{",
    { keys: "AAAA", madeAt: clock.wall() },
    { keys: Buffer.alloc(48).toString("base64"), madeAt: clock.wall() + 1e9 },
  ]) {
    await storage.store("tickets/current", encode(value));
    const one = process(storage, clock);
    await one.keys.start();
    expect(one.applied[0]).toMatch(/^48:/);
    expect(one.applied[0]).not.toMatch(/^48:0+$/);
    await one.keys.close();
  }
  const broken = process({ ...storage, load: () => Promise.reject(new Error("away")) });
  await broken.keys.start();
  expect(broken.applied).toEqual([]);
  expect(broken.lines.join()).toContain("tls.ticket_keys_failed");
  await broken.keys.close();
});
