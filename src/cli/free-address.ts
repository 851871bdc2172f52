/** A port for `skerry dev`, where nobody wants to hear of a port that another program has. */
import { createServer } from "node:net";
import type { ListenAddress } from "../config/config.ts";

/** How far to look before leaving it to the system. */
const TRIES = 10;

/** The address, or the next free port above it. */
export async function freeAddress(wanted: ListenAddress): Promise<ListenAddress> {
  for (let port = wanted.port; port < wanted.port + TRIES; port++)
    if (await isFree({ ...wanted, port })) return { ...wanted, port };
  return { ...wanted, port: 0 };
}

function isFree({ host, port }: ListenAddress): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen({ host, port }, () => probe.close(() => resolve(true)));
  });
}
