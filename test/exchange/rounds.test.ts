/** Rounds: the timer that all connections of a clock share, and requests to one server. */
import { expect, test } from "vitest";
import { sweepsOf } from "../../src/exchange/rounds.ts";
import { counted, manualClock } from "../upstream/support.ts";

test("one timer serves all, also who comes while others are swept", () => {
  const { clock, most } = counted(manualClock());
  const sweeper = sweepsOf(clock);
  let swept = 0;
  const come = (): void => {
    const member = {
      place: -1,
      sweep() {
        swept++;
        sweeper.remove(member);
      },
    };
    sweeper.add(member);
  };
  sweeper.add({ place: -1, sweep: come });
  clock.advance(6000);
  expect(swept).toBeGreaterThan(4);
  expect(most()).toBe(1);
});

test("a fault in one sweep does not end the others", () => {
  const clock = manualClock();
  const sweeper = sweepsOf(clock);
  let swept = 0;
  const faulty = {
    place: -1,
    sweep() {
      sweeper.remove(faulty);
      throw new Error("a fault");
    },
  };
  sweeper.add(faulty);
  sweeper.add({ place: -1, sweep: () => void swept++ });
  expect(() => clock.advance(5000)).toThrow("a fault");
  clock.advance(5000);
  expect(swept).toBeGreaterThan(0);
});
