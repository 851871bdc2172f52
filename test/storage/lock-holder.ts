// Takes a lock and keeps it until it is killed.
import { systemClock } from "../../src/clock.ts";
import { silentLog } from "../../src/log.ts";
import { openFilesystemStorage } from "../../src/storage/filesystem.ts";

const storage = openFilesystemStorage(process.argv[2] ?? "", { clock: systemClock, log: silentLog });
setInterval(() => {}, 1000);
await storage.withLock("issue/a", () => {
  console.log("held");
  return new Promise(() => {});
});
