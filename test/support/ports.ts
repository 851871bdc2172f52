/** Loopback ports for programs that must be told theirs before they start, or that come back on their old ones. */
import { createServer, type Server } from "node:net";

/** Below those that the kernel gives away by itself (32768 and up), above those of well-known services. */
const FROM = 20_000;
const TO = 32_000;
/** Each of vitest's workers has ports of its own, so that files which run side by side give out no port twice. */
const SHARES = 8;
const WIDTH = Math.floor((TO - FROM) / SHARES);
const first = FROM + (Number(process.env.VITEST_POOL_ID ?? 0) % SHARES) * WIDTH;

let next = Math.floor(Math.random() * WIDTH);

/**
 * `count` different TCP ports that nobody listens on. They stay free until they are used, also while their server is stopped: neither
 * an outgoing connection nor a server that asks for port 0 is given one of these.
 */
export async function freePorts(count: number): Promise<number[]> {
  const held: Server[] = [];
  const ports: number[] = [];
  for (let tries = 0; ports.length < count && tries < WIDTH; tries++) {
    const port = first + (next++ % WIDTH);
    const server = await heldAt(port);
    if (!server) continue;
    held.push(server);
    ports.push(port);
  }
  await Promise.all(held.map((server) => new Promise((closed) => server.close(closed))));
  if (ports.length < count) throw new Error("no free ports");
  return ports;
}

/** One free port. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port!;
}

/** Undefined where somebody is there already. */
function heldAt(port: number): Promise<Server | undefined> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once("error", () => resolve(undefined));
    server.listen({ port, host: "127.0.0.1" }, () => resolve(server));
  });
}
