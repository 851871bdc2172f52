/** Where a process and its children listen, read from Linux' /proc: for commands that do not say their port. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Target } from "./link.ts";

const LISTEN = "0A";

/** The lowest TCP port that `pid` or a descendant listens on; undefined while there is none, or where there is no /proc. */
export function listeningTarget(pid: number): Target | undefined {
  const inodes = new Set<string>();
  for (const each of family(pid)) for (const inode of socketsOf(each)) inodes.add(inode);
  if (inodes.size === 0) return undefined;
  let found: Target | undefined;
  for (const table of ["tcp", "tcp6"])
    for (const line of read(`/proc/${pid}/net/${table}`).split("\n").slice(1)) {
      const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
      if (state !== LISTEN || !inodes.has(inode)) continue;
      const [address = "", hexPort = ""] = local.split(":");
      const port = Number.parseInt(hexPort, 16);
      if (found === undefined || port < found.port) found = { host: hostOf(address), port };
    }
  return found;
}

/** Little-endian hex. What listens everywhere listens on the loopback too. */
function hostOf(address: string): string {
  if (address === "00000000000000000000000001000000") return "::1";
  if (address.length !== 8 || address === "00000000") return "127.0.0.1";
  return (address.match(/../g) ?? [])
    .map((byte) => Number.parseInt(byte, 16))
    .reverse()
    .join(".");
}

function family(pid: number): number[] {
  const children = read(`/proc/${pid}/task/${pid}/children`)
    .split(" ")
    .filter((each) => each !== "");
  return [pid, ...children.flatMap((each) => family(Number(each)))];
}

function socketsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        const found = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`));
        return found ? [found[1]!] : [];
      } catch {
        return []; // Closed since it was listed.
      }
    });
  } catch {
    return []; // The process is gone, or this is no Linux.
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // As above.
  }
}
