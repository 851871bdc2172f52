import fc from "fast-check";
import { expect, test } from "vitest";
import { Roster } from "../../src/exchange/roster.ts";

const member = (id: number): { id: number; place: number } => ({ id, place: -1 });

test("a roster holds what a set would, after any additions and deletions", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), { maxLength: 200 }), (steps) => {
      const roster = new Roster<{ id: number; place: number }>();
      const set = new Set<number>();
      const members = Array.from({ length: 21 }, (_, id) => member(id));
      for (const id of steps) {
        const one = members[id] as { id: number; place: number };
        expect(roster.has(one)).toBe(set.has(id));
        if (set.has(id)) {
          expect(roster.delete(one)).toBe(set.delete(id));
          expect(roster.delete(one)).toBe(false);
        } else {
          set.add(id);
          roster.add(one);
        }
      }
      const seen: number[] = [];
      roster.visit(({ id }) => seen.push(id));
      expect(seen.sort((a, b) => a - b)).toEqual([...set].sort((a, b) => a - b));
      expect(roster.size).toBe(set.size);
    }),
  );
});

test("everybody who stays is visited once, whoever leaves during the visit", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), fc.array(fc.nat(11)), (size, leaving) => {
      const roster = new Roster<{ id: number; place: number }>();
      const members = Array.from({ length: size }, (_, id) => member(id));
      for (const one of members) roster.add(one);
      const seen: number[] = [];
      const gone = new Set<number>();
      let step = 0;
      roster.visit(({ id }) => {
        expect(gone.has(id)).toBe(false);
        seen.push(id);
        const leaver = members[(leaving[step++] ?? size) % (size + 1)];
        if (leaver && roster.delete(leaver)) gone.add(leaver.id);
      });
      expect(new Set(seen).size).toBe(seen.length);
      for (const { id } of members) if (!gone.has(id)) expect(seen).toContain(id);
    }),
  );
});
