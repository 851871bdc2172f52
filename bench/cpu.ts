/** Readings from /proc: what a proxy's processes used, and what else ran on its core. Linux only. */
import { readdirSync, readFileSync } from "node:fs";

/** USER_HZ, which Linux fixes at 100 for everything it shows in /proc. */
const TICKS_PER_SECOND = 100;

interface ProcessStat {
  readonly parent: number;
  /** User and system time of its own and of the children it has waited for, in seconds. */
  readonly cpuSeconds: number;
}

/** Parses one /proc/PID/stat line; the command in brackets may hold spaces and brackets itself. */
export function parseStat(line: string): ProcessStat {
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  // fields[0] is the third of proc(5): state; then ppid (4), utime (14) … cstime (17)
  const ticks = [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at]), 0);
  return { parent: Number(fields[1]), cpuSeconds: ticks / TICKS_PER_SECOND };
}

function readStat(pid: number): ProcessStat | undefined {
  try {
    return parseStat(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return undefined; // it ended between the listing and the reading
  }
}

/** `root` and all its descendants that run now. */
export function processTree(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const stat = readStat(pid);
    if (stat !== undefined) children.set(stat.parent, [...(children.get(stat.parent) ?? []), pid]);
  }
  const tree = [root];
  for (let at = 0; at < tree.length; at++) tree.push(...(children.get(tree[at]!) ?? []));
  return tree;
}

/** User and system seconds of all of `pids`, children that ended included. */
export function cpuSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => sum + (readStat(pid)?.cpuSeconds ?? 0), 0);
}

export interface Memory {
  readonly rssKib: number;
  /** Like RSS, but what several processes share is counted once. */
  readonly pssKib: number;
}

export function memory(pids: readonly number[]): Memory {
  let rssKib = 0;
  let pssKib = 0;
  for (const pid of pids) {
    try {
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1");
      rssKib += Number(/^Rss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
      pssKib += Number(/^Pss:\s+(\d+)/m.exec(text)?.[1] ?? 0);
    } catch {
      // it ended between the listing and the reading
    }
  }
  return { rssKib, pssKib };
}

/**
 * Seconds that a core was busy since the machine started, with interrupts and time stolen by the hypervisor.
 * Debian's kernels count an interrupt's time (on loopback: the receiving half of TCP) to the process that it
 * interrupted as well, so a proxy's own CPU time holds it, and this less that is what others used.
 */
export function coreBusySeconds(core: number): number {
  const line = new RegExp(`^cpu${core} (.*)$`, "m").exec(readFileSync("/proc/stat", "latin1"))?.[1] ?? "";
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = line.split(" ").map(Number);
  return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND;
}
