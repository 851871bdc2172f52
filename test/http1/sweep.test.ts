/** The timer that all connections of a clock share. */
import { expect, test } from "vitest";
import { sweeperOf } from "../../src/http1/sweep.ts";
import { type ManualClock, manualClock } from "../upstream/support.ts";

function counting(): { clock: ManualClock; most: () => number } {
  const clock = manualClock();
  let [set, most] = [0, 0];
  const after: ManualClock["after"] = (delayMs, work) => {
    most = Math.max(most, ++set);
    return clock.after(delayMs, () => {
      set--;
      work();
    });
  };
  return { clock: { ...clock, after }, most: () => most };
}

test("one timer serves all, also who comes while others are swept", () => {
  const { clock, most } = counting();
  const sweeper = sweeperOf(clock);
  let swept = 0;
  const come = (): void => {
    const member = {
      sweep() {
        swept++;
        sweeper.remove(member);
      },
    };
    sweeper.add(member);
  };
  sweeper.add({ sweep: come });
  clock.advance(6000);
  expect(swept).toBeGreaterThan(4);
  expect(most()).toBe(1);
});

test("a fault in one sweep does not end the others", () => {
  const { clock } = counting();
  const sweeper = sweeperOf(clock);
  let swept = 0;
  const faulty = {
    sweep() {
      sweeper.remove(faulty);
      throw new Error("a fault");
    },
  };
  sweeper.add(faulty);
  sweeper.add({ sweep: () => void swept++ });
  expect(() => clock.advance(5000)).toThrow("a fault");
  clock.advance(5000);
  expect(swept).toBeGreaterThan(0);
});
