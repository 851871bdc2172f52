/** Certificate commands ask the running edge; where none runs, one of their own does the work and ends. */
import { request } from "node:http";
import type { ListenAddress, ResolvedConfig } from "../config/config.ts";
import { formatAddress } from "../config/parse.ts";
import { EdgeError, type ErrorCode } from "../errors.ts";
import { createLog } from "../log.ts";
import { withDynamicHost } from "./dynamic.ts";

/** Throws what the edge refuses. */
export type Ask = (method: "GET" | "POST", path: string, body?: object) => Promise<unknown>;

/** An edge says at once that it is alive, or something is wrong with it. */
const ALIVE_MS = 5_000;

/** The admin API of the edge that a config describes, or undefined where none answers. */
export async function runningEdge(
  { listen: { admin } }: { listen: Pick<ResolvedConfig["listen"], "admin"> },
  aliveMs: number = ALIVE_MS,
): Promise<Ask | undefined> {
  try {
    const alive = (await askAt(admin, aliveMs)("GET", "/livez")) as { status?: unknown };
    return alive.status === "alive" ? askAt(admin, ORDER_MS) : undefined;
  } catch (thrown) {
    if (thrown instanceof EdgeError && thrown.code === "UPSTREAM_TIMEOUT")
      process.stderr.write(`skerry: warning: ${thrown.message}: is that an edge that hangs?\n`);
    // Nobody there, or somebody who is no edge: then none runs, as far as we can tell.
    return undefined;
  }
}

/**
 * Has an edge do `work`: the one that runs, or one that serves `host` alone, answers challenges on `listen.http`, and ends.
 */
export async function withEdge<T>(
  config: ResolvedConfig,
  host: string,
  work: (ask: Ask) => Promise<T>,
): Promise<T> {
  const running = await runningEdge(config);
  if (running) return work(running);
  const merged = await withDynamicHost(config, host);
  const found = merged.hosts.get(host);
  if (!found)
    throw new EdgeError(
      "USAGE",
      `${host} is neither a host of the config nor one that was added, and no edge runs at listen.admin`,
      {
        source: "operator",
      },
    );
  const [{ startEdge }, { createAdminApp }] = await Promise.all([
    import("../edge/edge.ts"),
    import("../admin/app.ts"),
  ]);
  const local = { host: "127.0.0.1", port: 0 };
  const alone: ResolvedConfig = {
    ...merged,
    hosts: new Map([[host, found]]),
    onDemand: undefined,
    listen: { http: config.listen.http, https: local, admin: local },
  };
  const edge = await startEdge(alone, {
    admin: createAdminApp,
    announces: false,
    dynamic: false,
    // The command says itself what came of it.
    log: createLog({ level: "error", write: (line) => void process.stderr.write(line) }),
  });
  try {
    return await work(askAt(edge.addresses.admin, ORDER_MS));
  } finally {
    await edge.close();
  }
}

/** An order takes its time, and the edge has a bound of its own. */
const ORDER_MS = 330_000;

function askAt({ host, port }: ListenAddress, timeoutMs: number): Ask {
  const to = host === "::" ? "::1" : host === "0.0.0.0" ? "127.0.0.1" : host;
  return (method, path, body) =>
    new Promise((resolve, reject) => {
      const text = body && JSON.stringify(body);
      const outgoing = request(
        {
          host: to,
          port,
          method,
          path,
          timeout: timeoutMs,
          agent: false,
          headers: text
            ? { "content-type": "application/json", "content-length": Buffer.byteLength(text) }
            : {},
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", reject);
          response.on("end", () => {
            try {
              const value = JSON.parse(Buffer.concat(chunks).toString("utf8")) as Record<string, unknown>;
              if ((response.statusCode ?? 500) < 400) return resolve(value);
              reject(refusal(value, response.statusCode ?? 500));
            } catch {
              reject(
                new EdgeError(
                  "BAD_REQUEST",
                  `${to}:${port} answered ${response.statusCode}, and not as an edge does`,
                ),
              );
            }
          });
        },
      );
      outgoing.on("timeout", () => {
        const message = `${formatAddress({ host: to, port })} did not answer within ${timeoutMs / 1000} s`;
        outgoing.destroy(new EdgeError("UPSTREAM_TIMEOUT", message));
      });
      outgoing.on("error", reject);
      outgoing.end(text);
    });
}

function refusal(value: Record<string, unknown>, status: number): EdgeError {
  const { code = "INTERNAL", message } = value;
  return new EdgeError(
    code as ErrorCode,
    typeof message === "string" ? message : `the edge answered ${status}`,
    {
      source: "operator",
      status,
    },
  );
}
