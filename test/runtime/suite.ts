/** One suite for every runtime: Skerry's own command as a child process, driven from outside as a visitor would. */
import type { Runtime } from "../support/edge.ts";
import { certificateTests } from "./certificates.ts";
import { failingTests } from "./failing.ts";
import { operationTests } from "./operations.ts";
import { trafficTests } from "./traffic.ts";

export function edgeSuite(runtime: Runtime): void {
  certificateTests(runtime);
  trafficTests(runtime);
  failingTests(runtime);
  operationTests(runtime);
}
