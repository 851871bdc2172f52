/** Which runtime this is, and every quirk that Skerry works around, each with the version seen and the issue. */

declare const Bun: { version: string } | undefined;
declare const Deno: { version: { deno: string } } | undefined;

export type RuntimeName = "node" | "bun" | "deno";

export const runtimeName: RuntimeName =
  typeof Deno !== "undefined" ? "deno" : typeof Bun !== "undefined" ? "bun" : "node";

export const runtimeVersion: string =
  typeof Deno !== "undefined"
    ? Deno.version.deno
    : typeof Bun !== "undefined"
      ? Bun.version
      : process.versions.node;
