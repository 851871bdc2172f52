import { expect, test } from "vitest";
import { fuzzCodecs } from "./fuzz-codecs.ts";

test("20 000 cases of frames and header blocks, noise and bent ones, cut anywhere", () => {
  expect(() => fuzzCodecs(20_000, 7541)).not.toThrow();
});
