/** `npm run chaos -- --seed S --minutes M`: the storm of `chaos.test.ts`, for longer, told as it goes. */
import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: { seed: { type: "string", default: "1" }, minutes: { type: "string", default: "10" } },
});
const [seed, minutes] = [Number(values.seed), Number(values.minutes)];
if (!Number.isInteger(seed) || seed < 0 || !(minutes > 0 && minutes <= 600)) {
  console.error("npm run chaos -- --seed N --minutes M, of at most 600");
  process.exit(2);
}
const { status } = spawnSync("vitest", ["run", "test/chaos/chaos.test.ts", "-t", "in a storm"], {
  stdio: "inherit",
  env: { ...process.env, CHAOS_SEED: String(seed), CHAOS_MINUTES: String(minutes) },
});
process.exit(status ?? 1);
