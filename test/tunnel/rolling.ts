/** Rolling deploys under load: starts a new agent, stops the oldest, again and again; every request must be answered. */
import { createHash, randomBytes } from "node:crypto";
import https from "node:https";
import { setTimeout as pause } from "node:timers/promises";
import WebSocket from "ws";
import type { Runtime } from "../support/edge.ts";
import { ask, HOST, joined, type World, wormhole } from "./processes.ts";

export interface RollingReport {
  readonly requests: number;
  /** One line each. */
  readonly failures: readonly string[];
  /** Close codes of WebSockets that were open when their agent left. */
  readonly closes: ReadonlyMap<number, number>;
}

/** Runs `rounds` over three agents, with small requests, uploads, downloads and WebSockets under way. */
export async function roll(at: World, rounds: number, runtime: Runtime = "node"): Promise<RollingReport> {
  const failures: string[] = [];
  const closes = new Map<number, number>();
  let requests = 0;
  let running = true;
  let serial = 0;
  const begin = async () => {
    const agent = wormhole(runtime, at.token, `app-${++serial}`, { args: ["--grace", "3"] });
    await joined(agent);
    return agent;
  };
  const agents = await Promise.all([begin(), begin(), begin()]);

  const worker = async (once: (agent: https.Agent) => Promise<string | undefined>): Promise<void> => {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
    while (running) {
      try {
        const failure = await once(agent);
        if (failure !== undefined) failures.push(failure);
      } catch (error) {
        failures.push(String(error));
      }
      requests++;
      await pause(5);
    }
    agent.destroy();
  };
  const upload = randomBytes(500_000);
  const digest = createHash("sha256").update(upload).digest("hex");
  const workers = [
    ...Array.from({ length: 4 }, () =>
      worker(async (agent) => {
        const { status, body } = await ask(at, "/", { agent });
        return status === 200 && body.startsWith("app-")
          ? undefined
          : `GET / ${status} ${body.slice(0, 100)}`;
      }),
    ),
    worker(async (agent) => {
      const { status, body } = await ask(at, "/hash", { agent, method: "POST", body: upload });
      return status === 200 && body === digest ? undefined : `POST /hash ${status}`;
    }),
    worker(async (agent) => {
      const { status, body } = await ask(at, "/bytes?n=3000000", { agent });
      return status === 200 && body.length === 3_000_000 ? undefined : `GET /bytes ${status} ${body.length}`;
    }),
    worker(async (agent) => {
      const { status } = await ask(at, "/slow?ms=300", { agent });
      return status === 200 ? undefined : `GET /slow ${status}`;
    }),
  ];
  const sockets = (async () => {
    while (running) closes_(await socketLife(at, () => running));
  })();
  function closes_(code: number): void {
    closes.set(code, (closes.get(code) ?? 0) + 1);
  }

  for (let round = 0; round < rounds; round++) {
    agents.push(await begin());
    const { code } = await agents.shift()!.stop();
    if (code !== 0) failures.push(`an agent exited with ${code}`);
  }
  running = false;
  await Promise.all([...workers, sockets]);
  await Promise.all(agents.map((agent) => agent.stop()));
  return { requests, failures, closes };
}

/** Keeps a WebSocket open until its server closes it; resolves with the close code. */
function socketLife({ edge, ca }: World, wanted: () => boolean): Promise<number> {
  return new Promise((resolve) => {
    const socket = new WebSocket(`wss://${HOST}:${edge.https.port}/`, {
      ca,
      lookup: (_name, _options, done) => done(null, [{ address: "127.0.0.1", family: 4 }]),
    });
    const beat = setInterval(() => {
      // Closed before it is open, it would report 1006 for our own doing.
      if (socket.readyState !== WebSocket.OPEN) return;
      if (wanted()) socket.send("beat");
      else socket.close(1000);
    }, 50);
    socket.on("error", () => {});
    socket.on("close", (code) => {
      clearInterval(beat);
      resolve(code);
    });
  });
}
