#!/usr/bin/env node
const args = process.argv.slice(2);
// An agent is small and starts at once: nothing of the edge is loaded for it. What follows its name is its own business.
if (args[0] === "wormhole") {
  const { runWormhole } = await import("./wormhole-run.ts");
  process.exit(await runWormhole(args.slice(1)));
}
const { main } = await import("./program.ts");
await main(args);
