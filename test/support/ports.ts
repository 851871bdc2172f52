/** Free loopback ports, for programs that must be told theirs before they start (pebble, nginx). */
import { createServer, type Server } from "node:net";

/**
 * `count` different TCP ports that nobody listens on. All are held until all are known, so they differ; between
 * the return and the use another process could take one, which is why our own servers ask for port 0 instead.
 */
export async function freePorts(count: number): Promise<number[]> {
  const held: Server[] = [];
  const ports: number[] = [];
  for (let i = 0; i < count; i++) {
    const server = createServer();
    held.push(server);
    ports.push(
      await new Promise<number>((resolve, reject) => {
        server.once("error", reject);
        server.listen({ port: 0, host: "127.0.0.1" }, () => {
          const address = server.address();
          if (address === null || typeof address === "string") return reject(new Error("no port"));
          resolve(address.port);
        });
      }),
    );
  }
  await Promise.all(held.map((server) => new Promise((closed) => server.close(closed))));
  return ports;
}

/** Below those that the kernel gives to outgoing connections (32768 and up), above those of well-known services. */
const LASTING_FROM = 20_000;
const LASTING_TO = 32_000;

/**
 * As {@link freePorts}, for servers that are stopped and started again on their old ports: no connection of anybody's can
 * have taken them meanwhile.
 */
export async function lastingPorts(count: number): Promise<number[]> {
  const held: Server[] = [];
  const ports: number[] = [];
  for (let tries = 0; ports.length < count && tries < 1000; tries++) {
    const port = LASTING_FROM + Math.floor(Math.random() * (LASTING_TO - LASTING_FROM));
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen({ port, host: "127.0.0.1" }, () => resolve(true));
    });
    if (!free) continue;
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
