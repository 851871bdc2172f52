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

/** One free port. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port!;
}
