/** A throw-away certificate authority for tests. */
import { systemClock } from "../../src/clock.ts";
import { createLocalCa, type LocalCa } from "../../src/tls/local-ca.ts";

/** A local CA in memory. `await (await testCa()).issueFor(["a.example.test"])` gives a key and a chain. */
export function testCa(): Promise<LocalCa> {
  return createLocalCa(systemClock);
}
