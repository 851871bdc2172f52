/** Edges as child processes with a host of their own certificate, and what one asks of them afterwards. */

import { visitPlain } from "../runtime/client.ts";
import { ownCertificate } from "../runtime/own-certificate.ts";
import { configFile, type EdgeProcess, type Runtime, startEdge } from "../support/edge.ts";
import { eventually } from "../support/processes.ts";

export const RUNTIMES: readonly Runtime[] = ["node", "bun", "deno"];

/** Backends by host: `{ "app.test": ["http://127.0.0.1:3000"] }`. */
export type Sites = Readonly<Record<string, readonly string[]>>;

export interface TestEdge extends EdgeProcess {
  /** PEM of the root to trust. */
  readonly ca: string;
}

/** Starts `skerry serve` for `sites`; `more` are further fields of the config. */
export async function edgeFor(
  runtime: Runtime,
  sites: Sites,
  more: Readonly<Record<string, unknown>> = {},
): Promise<TestEdge> {
  const hosts = Object.keys(sites);
  const own = await ownCertificate(hosts);
  const name = (host: string): string => host.replaceAll(".", "-");
  const edge = await startEdge(
    runtime,
    configFile({
      listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
      storage: "file:./certs",
      accessLog: false,
      backends: Object.fromEntries(hosts.map((host) => [name(host), { servers: sites[host] }])),
      hosts: Object.fromEntries(hosts.map((host) => [host, { backend: name(host), tls: own.tls }])),
      ...more,
    }),
  );
  return Object.assign(edge, { ca: own.root });
}

/** A metric's value, summed over its labels. */
export async function metric(edge: EdgeProcess, name: string): Promise<number> {
  const { body } = await visitPlain({ port: edge.admin.port, host: "localhost", path: "/metrics" });
  return body
    .split("\n")
    .filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

/** Requests that the edge holds leases for, over all servers. */
export async function leases(edge: EdgeProcess): Promise<number> {
  const { body } = await visitPlain({ port: edge.admin.port, host: "localhost", path: "/backends" });
  const { backends } = JSON.parse(body) as { backends: { servers: { inFlight: number }[] }[] };
  return backends.flatMap(({ servers }) => servers).reduce((sum, { inFlight }) => sum + inFlight, 0);
}

/** Waits until nothing is in flight any more, neither downstream nor upstream. */
export async function quiet(edge: EdgeProcess, boundMs = 10_000): Promise<void> {
  await eventually(
    `${edge.runtime}: nothing in flight`,
    async () => (await leases(edge)) === 0 && (await metric(edge, "skerry_requests_in_flight")) === 0,
    boundMs,
  );
}

/** Lines that say that something broke which nobody had foreseen. */
export function surprises(edge: EdgeProcess): unknown[] {
  return edge
    .logs()
    .filter(
      ({ event, code }) =>
        event === "process.uncaught" || event === "middleware.failed" || code === "INTERNAL",
    );
}
