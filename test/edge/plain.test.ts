import { expect, test } from "vitest";
import { answerChallenge } from "../../src/edge/plain.ts";
import { createHttpChallenge } from "../../src/tls/challenge.ts";
import { manualClock } from "../support/manual-clock.ts";

const PATH = "/.well-known/acme-challenge/token";

test("a challenge that comes before the account is known waits for it, three seconds at most", async () => {
  const clock = manualClock();
  const challenge = createHttpChallenge();
  const early = answerChallenge(challenge, PATH, clock);
  challenge.setThumbprint("t".repeat(43));
  expect(await early).toBe(`token.${"t".repeat(43)}`);

  const deaf = createHttpChallenge();
  let answer: string | undefined = "none yet";
  const late = answerChallenge(deaf, PATH, clock).then((given) => {
    answer = given;
  });
  await clock.advance(2999);
  expect(answer).toBe("none yet");
  await clock.advance(1);
  await late;
  expect(answer).toBeUndefined();
});
