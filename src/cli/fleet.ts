/** `skerry fleet …`: the key, the state and the repair of what edges share. */
import type { Command } from "commander";
import { systemClock } from "../clock.ts";
import { loadConfig } from "../config/load.ts";
import { natsOptions } from "../edge/storage.ts";
import { EdgeError } from "../errors.ts";
import { silentLog } from "../log.ts";
import type { NatsStorageOptions } from "../storage/nats.ts";
import { makeFleetKey } from "../storage/seal.ts";
import { configFlag } from "./flags.ts";
import { say, sayJson } from "./say.ts";

export function addFleet(program: Command): void {
  const fleet = program.command("fleet").summary("several edges that share their storage in NATS");
  fleet
    .command("key")
    .summary("make a fleet key")
    .description(
      "Prints a new fleet key, with which everything that edges share is sealed. All edges of a fleet have the same one, in " +
        "SKERRY_FLEET_KEY or in the file that fleetKey names. Who loses it loses the fleet's storage.",
    )
    .action(() => say(makeFleetKey()));
  configFlag(fleet.command("status").summary("show whether the shared storage is well"))
    .option("--json", "as JSON")
    .action(async (options: { config?: string } & { json?: boolean }) => {
      const { fleetStatus } = await import("../storage/nats-admin.ts");
      const status = await fleetStatus(await place(options));
      if (options.json) return sayJson(status);
      const { unsafe, locks, ...facts } = status;
      for (const [name, value] of Object.entries(facts)) say(`${name.padEnd(10)}${value}`);
      for (const { name, owner } of locks) say(`locked    ${name} by ${owner}`);
      for (const what of unsafe) say(`unsafe    ${what}`);
    });
  configFlag(fleet.command("reseal").summary("seal everything with the first of several fleet keys")).action(
    async (options: { config?: string }) => {
      const { resealFleet } = await import("../storage/nats-admin.ts");
      const { keyId, values } = await resealFleet(await place(options));
      say(`sealed ${values} values with fleet key ${keyId}`);
    },
  );
  configFlag(fleet.command("restore").summary("fill a lost bucket again from this edge's local copy")).action(
    async (options: { config?: string }) => {
      const { restoreFleet } = await import("../storage/nats-admin.ts");
      const from = await place(options);
      const { fleet: id, kinds, values, present, damaged } = await restoreFleet(from);
      const again = present > 0 ? `; ${present} of them were there already` : "";
      say(`restored fleet ${id} from ${from.copy}: ${values} values${again}`);
      for (const [kind, count] of Object.entries(kinds).sort())
        say(`  ${String(count).padStart(7)}  ${kind}`);
      if (damaged.length > 0) {
        say(
          "Left out, as their copies are damaged: edges order certificates anew, the rest is yours to add again.",
        );
        for (const key of damaged) say(`  ${key}`);
      }
      say("Edges that run come back by themselves within seconds, and need no restart.");
      say('Look with "skerry edges" and "skerry fleet status".');
    },
  );
}

async function place(options: { config?: string }): Promise<NatsStorageOptions> {
  const { fleet, storage } = await loadConfig(options.config, { certificates: "local" });
  if (!fleet)
    throw new EdgeError("USAGE", `storage is ${storage}: a fleet's is nats://…`, { source: "operator" });
  return { ...natsOptions(fleet), clock: systemClock, log: silentLog };
}
