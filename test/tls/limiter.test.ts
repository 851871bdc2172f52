import { expect, test } from "vitest";
import { createLimiter } from "../../src/tls/limiter.ts";

const never = new AbortController().signal;

/** Works that end when told, and the order in which they began. */
function lab() {
  const began: string[] = [];
  const ends = new Map<string, () => void>();
  const work = (name: string) => () =>
    new Promise<void>((resolve) => {
      began.push(name);
      ends.set(name, resolve);
    });
  const end = async (name: string): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve));
    ends.get(name)?.();
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { began, work, end };
}

test("what is urgent goes before what waited longer, in its own order", async () => {
  const { began, work, end } = lab();
  const limiter = createLimiter(1);
  const all = [
    limiter.run(work("first"), never),
    limiter.run(work("renewal 1"), never),
    limiter.run(work("renewal 2"), never),
    limiter.run(work("new 1"), never, true),
    limiter.run(work("new 2"), never, true),
  ];
  await end("first");
  for (const name of ["new 1", "new 2", "renewal 1", "renewal 2"]) await end(name);
  await Promise.all(all);
  expect(began).toEqual(["first", "new 1", "new 2", "renewal 1", "renewal 2"]);
});

test("who gives up leaves the line, and what fails makes room", async () => {
  const { began, work, end } = lab();
  const limiter = createLimiter(1);
  const stop = new AbortController();
  const failing = limiter.run(async () => {
    began.push("failing");
    await new Promise((resolve) => setImmediate(resolve));
    throw new Error("failed");
  }, never);
  const leaving = limiter.run(work("leaving"), stop.signal);
  const last = limiter.run(work("last"), never);
  stop.abort(new Error("gave up"));
  await expect(leaving).rejects.toThrow("gave up");
  await expect(failing).rejects.toThrow("failed");
  await end("last");
  await last;
  expect(began).toEqual(["failing", "last"]);
});

test("a place that is lent goes to the next in line, and who lent it comes back before all others", async () => {
  const { began, work, end } = lab();
  const limiter = createLimiter(1);
  const lending = limiter.run(async (place) => {
    began.push("lending");
    place.lend();
    place.lend();
    await work("waiting")();
    await place.back(never);
    await work("back")();
  }, never);
  const others = ["first", "second"].map((name) => limiter.run(work(name), never, true));
  await end("waiting");
  expect(began).toEqual(["lending", "waiting", "first"]);
  await end("first");
  expect(began.at(-1)).toBe("back");
  await end("back");
  await end("second");
  await Promise.all([lending, ...others]);
  expect(began).toEqual(["lending", "waiting", "first", "back", "second"]);
});

test("who lent its place and ends leaves the others' places alone", async () => {
  const { began, work, end } = lab();
  const limiter = createLimiter(1);
  const stop = new AbortController();
  let lend = (): void => {};
  await limiter.run(async (place) => {
    lend = () => place.lend();
    place.lend();
  }, never);
  lend();
  const holder = limiter.run(work("holder"), never);
  const giving = limiter.run(work("next"), stop.signal);
  await end("nobody");
  expect(began).toEqual(["holder"]);
  stop.abort(new Error("gave up"));
  await expect(giving).rejects.toThrow("gave up");
  await end("holder");
  await holder;
});
