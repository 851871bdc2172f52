/** From the start of a wormhole's process to its place in the rotation, by every way to run one. */
import { existsSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type Child, launch } from "./process.ts";
import { median } from "./stats.ts";
import { ROOT, type TunnelEdge, until } from "./tunnel-edge.ts";

const ROUNDS = 7;
const POLL_MS = 1;
const APP = join(ROOT, "bench/programs/app.js");
const SOURCE = join(ROOT, "src/cli/wormhole.ts");

/** Those that are not built are left out, and said to be. */
const WAYS: readonly { name: string; command: readonly string[]; needs?: string; how?: string }[] = [
  { name: "Node, from source", command: [process.execPath, SOURCE] },
  {
    name: "Node, built",
    command: [process.execPath, join(ROOT, "dist/cli/wormhole.js")],
    needs: join(ROOT, "dist/cli/wormhole.js"),
    how: "npm run build",
  },
  { name: "Bun", command: [join(ROOT, "node_modules/.bin/bun"), SOURCE] },
  { name: "Deno", command: [join(ROOT, "node_modules/.bin/deno"), "run", "-A", SOURCE] },
  {
    name: "executable",
    command: [join(ROOT, "dist/wormhole")],
    needs: join(ROOT, "dist/wormhole"),
    how: "npm run build:wormhole",
  },
];

/** Milliseconds from `spawn` to the first `wormhole.joined`. */
async function once(command: readonly string[], env: Record<string, string>, cores: string): Promise<number> {
  const began = performance.now();
  const agent: Child = launch("agent", command, { cores, env });
  await until("the wormhole", agent, /wormhole\.joined/, POLL_MS);
  const took = performance.now() - began;
  await agent.stop();
  return took;
}

/** The table's text. Nothing is pinned apart from the edge: a container's start has the machine's other cores. */
export async function measureStart({ token }: TunnelEdge, cores: string): Promise<string> {
  const listening = createServer((_request, response) => response.end("up")).listen(0, "127.0.0.1");
  await new Promise((resolve) => listening.once("listening", resolve));
  const target = `127.0.0.1:${(listening.address() as AddressInfo).port}`;
  const there = WAYS.filter(({ needs }) => needs === undefined || existsSync(needs));
  const times = new Map(there.map(({ name }) => [name, { bare: [] as number[], wraps: [] as number[] }]));
  for (let round = 0; round < ROUNDS; round++)
    for (const { name, command } of there) {
      const { bare, wraps } = times.get(name)!;
      bare.push(await once(command, { WORMHOLE_TOKEN: token, WORMHOLE_TARGET: target }, cores));
      wraps.push(await once([...command, process.execPath, APP], { WORMHOLE_TOKEN: token }, cores));
    }
  listening.close();
  const row = (name: string, values: readonly number[][]): string =>
    `| ${name} | ${values.map((each) => `${median(each).toFixed(0)} (${Math.min(...each).toFixed(0)}–${Math.max(...each).toFixed(0)})`).join(" | ")} |\n`;
  const rows = [...times].map(([name, { bare, wraps }]) => row(name, [bare, wraps])).join("");
  const absent = WAYS.filter((way) => !there.includes(way)).map(({ name, how }) => `${name}: ${how} first\n`);
  return `| start to joined, ms: median of ${ROUNDS} (range) | the app is up | \`wormhole node app.js\` |\n| --- | ---: | ---: |\n${rows}${absent.length > 0 ? `\n${absent.join("")}` : ""}`;
}
