/** What the operator sees when a command fails: clear lines on standard error, an exit code, never a stack. */
import { EdgeError, messageOf } from "../errors.ts";

/** Wrong usage or a wrong config: running it again will not help. */
export const EXIT_USAGE = 2;
export const EXIT_FAILURE = 1;

/** Writes `skerry: …`, one line for each problem, and returns the exit code. */
export function reportFailure(thrown: unknown): number {
  for (const line of failureLines(thrown)) process.stderr.write(`skerry: ${line}\n`);
  if (!(thrown instanceof EdgeError)) return EXIT_FAILURE;
  const usage =
    thrown.code === "CONFIG_INVALID" || thrown.code === "CONFIG_UNREADABLE" || thrown.code === "USAGE";
  return usage ? EXIT_USAGE : EXIT_FAILURE;
}

function failureLines(thrown: unknown): string[] {
  const lines = messageOf(thrown)
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  if (thrown instanceof EdgeError) return lines;
  // Not foreseen, so the first line is all that can be told; what follows it is for developers.
  return [`unexpected failure: ${lines[0] ?? "no message"}`];
}
