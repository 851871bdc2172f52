/** `skerry fleet …`: the key, the state and the repair of what edges share. */
import type { Command } from "commander";
import { systemClock } from "../clock.ts";
import { loadConfig } from "../config/load.ts";
import { natsOptions } from "../edge/storage.ts";
import { EdgeError } from "../errors.ts";
import { silentLog } from "../log.ts";
import type { NatsStorageOptions } from "../storage/nats.ts";
import { makeFleetKey } from "../storage/seal.ts";

interface PlaceOptions {
  config?: string;
}

const CONFIG = "config file (default: skerry.config.ts, .js or .json in this folder)";

export function addFleet(program: Command): void {
  const fleet = program.command("fleet").summary("several edges that share their storage in NATS");
  fleet
    .command("key")
    .summary("make a fleet key")
    .description(
      "Prints a new fleet key, with which everything that edges share is sealed. All edges of a fleet have the same one, in " +
        "SKERRY_FLEET_KEY or in the file that fleetKey names. Who loses it loses the fleet's storage.",
    )
    .action(() => void process.stdout.write(`${makeFleetKey()}\n`));
  fleet
    .command("status")
    .summary("show whether the shared storage is well")
    .option("-c, --config <file>", CONFIG)
    .option("--json", "as JSON")
    .action(async (options: PlaceOptions & { json?: boolean }) => {
      const { fleetStatus } = await import("../storage/nats-admin.ts");
      const status = await fleetStatus(await place(options));
      if (options.json) return void process.stdout.write(`${JSON.stringify(status, undefined, 2)}\n`);
      const { unsafe, locks, ...facts } = status;
      for (const [name, value] of Object.entries(facts)) process.stdout.write(`${name.padEnd(10)}${value}\n`);
      for (const lock of locks) process.stdout.write(`locked    ${lock}\n`);
      for (const what of unsafe) process.stdout.write(`unsafe    ${what}\n`);
    });
  fleet
    .command("reseal")
    .summary("seal everything with the first of several fleet keys")
    .option("-c, --config <file>", CONFIG)
    .action(async (options: PlaceOptions) => {
      const { resealFleet } = await import("../storage/nats-admin.ts");
      const { keyId, values } = await resealFleet(await place(options));
      process.stdout.write(`sealed ${values} values with fleet key ${keyId}\n`);
    });
  fleet
    .command("restore")
    .summary("fill a lost bucket again from this edge's local copy")
    .option("-c, --config <file>", CONFIG)
    .action(async (options: PlaceOptions) => {
      const { restoreFleet } = await import("../storage/nats-admin.ts");
      const { fleet: id, values } = await restoreFleet(await place(options));
      process.stdout.write(`restored ${values} values of fleet ${id}\n`);
    });
}

async function place(options: PlaceOptions): Promise<NatsStorageOptions> {
  const { fleet, storage } = await loadConfig(options.config, { certificates: "local" });
  if (!fleet)
    throw new EdgeError("USAGE", `storage is ${storage}: a fleet's is nats://…`, { source: "operator" });
  return { ...natsOptions(fleet), clock: systemClock, log: silentLog };
}
