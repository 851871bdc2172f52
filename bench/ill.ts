/** A server that falls ill on demand: ended, stopped, or told to misbehave. */
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Child, freePort, launch } from "./process.ts";

const PROGRAM = fileURLToPath(new URL("programs/server.ts", import.meta.url));

export type Mode = "ok" | "slow" | "busy" | "hang";

export class Ill {
  readonly port: number;
  private readonly cores: string;
  private child: Child;
  /** Processes that wait to take its place. */
  private readonly spares: Child[] = [];

  private constructor(port: number, cores: string) {
    this.port = port;
    this.cores = cores;
    this.child = this.launched([]);
  }

  /** @param spares how often it will be killed and come back */
  static async start(cores: string, spares: number): Promise<Ill> {
    const server = new Ill(await freePort(), cores);
    for (let left = spares; left > 0; left--) server.spares.push(server.launched(["later"]));
    await server.listening();
    return server;
  }

  private launched(args: readonly string[]): Child {
    const command = [process.execPath, PROGRAM, String(this.port), ...args];
    return launch("server", command, { cores: this.cores });
  }

  private async listening(): Promise<void> {
    for (let tries = 0; tries < 2000; tries++) {
      if ((await this.count()) !== undefined) return;
      await wait(5);
    }
    throw new Error("a server did not start");
  }

  /** Requests it was sent; undefined while it does not answer. */
  async count(): Promise<number | undefined> {
    const url = `http://127.0.0.1:${this.port}/count`;
    return fetch(url, { signal: AbortSignal.timeout(500) })
      .then(async (answer) => Number(await answer.text()))
      .catch(() => undefined);
  }

  async mode(mode: Mode): Promise<void> {
    await fetch(`http://127.0.0.1:${this.port}/set?mode=${mode}`);
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.child.pid, signal);
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.child.exited;
  }

  /** A spare takes its place. */
  async restart(): Promise<void> {
    const spare = this.spares.pop();
    if (spare === undefined) throw new Error("no spare is left to take its place");
    this.child = spare;
    spare.stdin.end();
    await this.listening();
  }

  async stop(): Promise<void> {
    if (this.child.running()) this.signal("SIGCONT");
    await Promise.all([this.child, ...this.spares].map((child) => child.stop()));
  }
}

/** How often `/count` is asked, and over how many of these a share is taken. */
const POLL_MS = 100;
const POLLS = 3;

/** Milliseconds until the last of `servers` gets three fifths of what each of the others gets; stops with `over`. */
export async function untilShared(servers: readonly Ill[], over: AbortSignal): Promise<number | undefined> {
  const began = performance.now();
  const seen: { at: number; counts: number[] }[] = [];
  while (!over.aborted) {
    const at = performance.now() - began;
    const counts = await Promise.all(servers.map(async (one) => (await one.count()) ?? 0));
    seen.push({ at, counts });
    const first = seen.at(-1 - POLLS);
    if (first) {
      const got = counts.map((count, index) => count - first.counts[index]!);
      const others = got.slice(0, -1).reduce((sum, count) => sum + count, 0) / (got.length - 1);
      if (others > 5 && got.at(-1)! >= 0.6 * others) return first.at;
    }
    await wait(POLL_MS);
  }
  return undefined;
}
