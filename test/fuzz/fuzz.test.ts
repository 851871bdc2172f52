/** A share of what `node test/fuzz/run.ts` runs without end. SKERRY_FUZZ_SEED repeats a run; it is told on failure. */
import { expect, test } from "vitest";
import { differential } from "./differential.ts";
import { selfAgreement } from "./parser.ts";

const seed = Number(process.env.SKERRY_FUZZ_SEED ?? 20_260_101);

test("the parser reads requests alike however they are cut, and lets nothing unclear pass", () => {
  const { findings, cases } = selfAgreement({ count: 20_000, seed, boundMs: 8000 });
  expect(findings, `seed ${seed}`).toEqual([]);
  expect(cases).toBeGreaterThan(500);
});

test("nginx, Apache and the edge see the same requests with the same bodies", async () => {
  const { findings, cases, forwarded } = await differential({ count: 10_000, seed, boundMs: 9000 });
  expect(findings, `seed ${seed}`).toEqual([]);
  expect(cases).toBeGreaterThan(500);
  expect(forwarded).toBeGreaterThan(cases / 2);
}, 30_000);
