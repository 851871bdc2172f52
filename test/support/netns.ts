/** Two networks with one cable between them, made of Linux' network namespaces: for root only. */
import { execFileSync } from "node:child_process";
import { start } from "./processes.ts";

export interface Net {
  /** Becomes a program in this network. */
  readonly under: readonly string[];
  readonly address: string;
  /** Pulls its end of the cable out, or puts it back; nobody is told. */
  cable(state: "down" | "up"): void;
}

export interface Nets {
  readonly left: Net;
  readonly right: Net;
  close(): void;
}

function ip(...args: string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"], timeout: 10_000 });
}

/** Why there can be no namespaces here; undefined where there can. */
export function netnsMissing(): string | undefined {
  if (process.platform !== "linux") return "network namespaces are Linux'";
  const name = `skerry-probe-${process.pid}`;
  try {
    ip("netns", "add", name);
    ip("netns", "del", name);
    return undefined;
  } catch (error) {
    const { code, stderr } = error as { code?: string; stderr?: Buffer };
    if (code === "ENOENT") return "there is no ip command (Debian: iproute2)";
    return `ip netns: ${String(stderr ?? error)
      .trim()
      .slice(0, 80)}`;
  }
}

let made = 0;

/** Each has its own loopback besides. */
export function createNets(): Nets {
  const tag = `skerry-${process.pid}-${made++}`;
  const names = [`${tag}-l`, `${tag}-r`] as const;
  const close = (): void => {
    for (const name of names)
      try {
        ip("netns", "del", name); // Its end of the cable goes with it.
      } catch {
        // It was not made.
      }
  };
  const net = (name: string, address: string): Net => ({
    under: ["ip", "netns", "exec", name],
    address,
    cable: (state) => ip("-n", name, "link", "set", "cable", state),
  });
  try {
    for (const name of names) ip("netns", "add", name);
    const [left, right] = names;
    ip("-n", left, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", right);
    for (const [at, name] of names.entries()) {
      ip("-n", name, "addr", "add", `198.18.0.${at + 1}/30`, "dev", "cable");
      ip("-n", name, "link", "set", "lo", "up");
      ip("-n", name, "link", "set", "cable", "up");
    }
    return { left: net(left, "198.18.0.1"), right: net(right, "198.18.0.2"), close };
  } catch (error) {
    close();
    throw error;
  }
}

/** A Unix socket that leads to a loopback port of `net`: by files the networks are one. */
export async function wayInto(net: Net, port: number, path: string): Promise<void> {
  const source = `
    const { connect, createServer } = require("node:net");
    createServer((one) => {
      const other = connect(${port}, "127.0.0.1");
      for (const [from, to] of [[one, other], [other, one]]) from.on("error", () => to.destroy()).pipe(to);
    }).listen(${JSON.stringify(path)}, () => console.log("way"));`;
  await start("node", ["-e", source], { under: net.under }).saw(/way/);
}
