/** Real NATS servers with JetStream on loopback: one, or a cluster, that can be killed and started again. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "./ports.ts";
import { type Child, eventually, listening, start } from "./processes.ts";
import { type Relay, startRelay } from "./relay.ts";

export interface NatsOptions {
  /** How many form a cluster. @default 1 */
  servers?: number;
  /** More lines of the servers' configuration: authorization, tls. */
  more?: string;
  /** Whether clients of one server of a cluster are told of the others. @default true */
  advertise?: boolean;
  /** Whether servers of a cluster speak to each other through relays, which {@link Nats.isolate} stops. @default false */
  relayed?: boolean;
}

export interface Nats {
  /** `host:port` of each. */
  readonly servers: readonly string[];
  /** As a config's `storage`. */
  readonly url: string;
  /** kill -9; of all where none is named. */
  kill(index?: number): Promise<void>;
  /** Starts those that are down, on their old ports and data; resolves when they can store. */
  start(): Promise<void>;
  /** No other server hears one of them any more, nor it them, until the returned function is called; clients reach all. */
  isolate(index: number, how: "stall" | "cut"): () => void;
  /** Kills all and removes what they stored; `start` begins with nothing. */
  wipe(): Promise<void>;
  close(): Promise<void>;
}

export async function startNats(options: NatsOptions = {}): Promise<Nats> {
  const count = options.servers ?? 1;
  const folder = mkdtempSync(join(tmpdir(), "skerry-nats-"));
  const ports = await freePorts(count * 3);
  const clients = ports.slice(0, count);
  const routes = ports.slice(count, 2 * count);
  const monitors = ports.slice(2 * count);
  const children: (Child | undefined)[] = [];
  const indices = clients.map((_, index) => index);
  /** Where each reaches the others: by a line of its own to each of them. */
  const lines: { from: number; to: number; relay: Relay }[] = [];
  if (options.relayed)
    for (const from of indices)
      for (const to of indices)
        if (from !== to) lines.push({ from, to, relay: await startRelay({ port: routes[to]! }) });
  const routesOf = (index: number): readonly number[] =>
    options.relayed ? lines.filter(({ from }) => from === index).map(({ relay }) => relay.port) : routes;
  // Nobody is there: what servers tell each other of themselves must not lead past the relays.
  const hidden = options.relayed ? `advertise: "127.0.0.1:9", ` : "";

  const run = (index: number): void => {
    const path = join(folder, `${index}.conf`);
    const cluster =
      count === 1
        ? ""
        : `cluster { name: skerry, no_advertise: ${options.advertise === false}, ${hidden}listen: "127.0.0.1:${routes[index]}", routes: [${routesOf(
            index,
          )
            .map((port) => `"nats://127.0.0.1:${port}"`)
            .join(", ")}] }\n`;
    writeFileSync(
      path,
      `server_name: n${index}\nlisten: "127.0.0.1:${clients[index]}"\nhttp: "127.0.0.1:${monitors[index]}"\nmax_payload: 2MB\n` +
        `jetstream { store_dir: "${join(folder, String(index))}", max_mem: 64MB, max_file: 1GB }\n${cluster}${options.more ?? ""}\n`,
    );
    children[index] = start("nats-server", ["-c", path]);
  };
  const kill = async (index?: number): Promise<void> => {
    const which = index === undefined ? indices : [index];
    await Promise.all(which.map((each) => children[each]?.stop("SIGKILL")));
    for (const each of which) children[each] = undefined;
  };
  const startAll = async (): Promise<void> => {
    for (const index of indices) if (!children[index]?.running()) run(index);
    await Promise.all(clients.map((port) => listening(port)));
    for (const port of monitors)
      await eventually(
        "JetStream is ready",
        async () => (await fetch(`http://127.0.0.1:${port}/healthz`)).ok,
      );
  };
  await startAll();
  const servers = clients.map((port) => `127.0.0.1:${port}`);
  return {
    servers,
    url: `nats://${servers.join(",")}`,
    kill,
    start: startAll,
    isolate(index, how) {
      const cut = lines.filter(({ from, to }) => from === index || to === index);
      for (const { relay } of cut) {
        relay.stall();
        if (how === "cut") relay.cut();
      }
      return () => {
        for (const { relay } of cut) relay.go();
      };
    },
    async wipe() {
      await kill();
      for (const index of indices) rmSync(join(folder, String(index)), { recursive: true, force: true });
    },
    async close() {
      await kill();
      await Promise.all(lines.map(({ relay }) => relay.close()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
