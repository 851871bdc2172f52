// Writes one value over and over until it is killed.
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { openFilesystemStorage } from "../../src/storage/filesystem.ts";

const storage = openFilesystemStorage(process.argv[2] ?? "", { clock: systemClock, log: silentLog });
for (let turn = 0; ; turn++) {
  await storage.store("crash/value", new Uint8Array(200_000).fill(turn % 251));
  if (turn === 3) console.log("writing");
}
