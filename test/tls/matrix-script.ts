// Run on each runtime: goes through the fault matrix and prints how each case ended, one JSON line per case.
// argv: a regular expression of the cases' names; none for all.
import { startLab } from "./lab.ts";
import { matrixOf, resetMatrix } from "./matrix-cases.ts";

const wanted = new RegExp(process.argv[2] ?? "");
const lab = await startLab();
for (const [name, run] of Object.entries(matrixOf(lab))) {
  if (!wanted.test(name)) continue;
  try {
    await run();
    console.log(JSON.stringify({ name }));
  } catch (thrown) {
    console.log(JSON.stringify({ name, error: thrown instanceof Error ? thrown.stack : String(thrown) }));
  }
  await resetMatrix(lab);
}
await lab.close();
process.exit(0);
