/**
 * Fuzzers as a command; the test suite runs a share of each.
 *
 *   node test/fuzz/run.ts parser [--count 100000] [--seed 1]
 *     the parser with itself: whole, in random pieces and byte by byte must give the same requests and the same refusal
 *   node test/fuzz/run.ts origins [--count 100000] [--seed 1] [--verbose]
 *     through the edge to nginx and Apache, which must agree with the parser on every request and its body
 */
import { parseArgs } from "node:util";
import { differential } from "./differential.ts";
import { selfAgreement } from "./parser.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: "string", default: "100000" },
    verbose: { type: "boolean", default: false },
    seed: { type: "string", default: "1" },
  },
});
const options = { count: Number(values.count), seed: Number(values.seed), verbose: values.verbose };
const started = performance.now();
const progress = (done: number, findings: number): void => {
  const rate = Math.round((done / (performance.now() - started)) * 1000);
  console.error(`${done} cases, ${rate} a second, ${findings} findings`);
};

let findings: readonly string[];
if (positionals[0] === "parser") {
  const outcome = selfAgreement(options, progress);
  findings = outcome.findings;
  console.log(JSON.stringify({ ...outcome, findings: findings.length }));
} else if (positionals[0] === "origins") {
  const outcome = await differential(options, progress);
  findings = outcome.findings;
  console.log(JSON.stringify({ ...outcome, findings: findings.length }));
} else {
  console.error("which one: parser, origins");
  process.exit(2);
}
for (const finding of findings) console.log(finding);
process.exit(findings.length === 0 ? 0 : 1);
