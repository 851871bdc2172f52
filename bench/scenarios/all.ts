/** Every scenario, in the order in which all of them run. */
import { bodiesScenario } from "./bodies.ts";
import { handshake } from "./handshake.ts";
import { idle } from "./idle.ts";
import { h1, h1Connections, h2 } from "./requests.ts";
import type { Scenario } from "./scenario.ts";

export const SCENARIOS: readonly Scenario[] = [h1, h2, h1Connections, handshake, bodiesScenario, idle];
