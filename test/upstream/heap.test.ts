import fc from "fast-check";
import { expect, test } from "vitest";
import { IndexedHeap } from "../../src/upstream/heap.ts";

test("its top is the least of what is in it, whatever was set and removed", () => {
  const step = fc.record({ item: fc.nat(15), key: fc.nat(5), turn: fc.nat(5), remove: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const heap = new IndexedHeap(16);
      const model = new Map<number, [number, number]>();
      for (const { item, key, turn, remove } of steps) {
        if (remove) {
          heap.remove(item);
          model.delete(item);
        } else {
          heap.set(item, key, turn);
          model.set(item, [key, turn]);
        }
        const least = [...model.values()].sort((a, b) => a[0] - b[0] || a[1] - b[1])[0];
        expect(heap.top < 0 ? undefined : [heap.key(heap.top), heap.turn(heap.top)]).toEqual(least);
        expect(heap.has(item)).toBe(model.has(item));
      }
    }),
    { seed: 3, numRuns: 500 },
  );
});
