/** Active health checks, over a connection of their own: what a pool of connections hides, a new one shows. */
import type { Clock } from "../clock.ts";
import type { BackendConfig, HealthConfig, ServerConfig } from "../config/config.ts";
import { EdgeError } from "../errors.ts";
import type { ByteSource } from "../exchange/body.ts";
import type { Transport } from "../exchange/dispatch.ts";
import type { Server } from "../upstream/server.ts";
import { dial } from "./connect.ts";
import { bareTransport, type TransportDeps, targetOf } from "./transport.ts";

/** More of an answer's body is not read. */
const MOST_BODY_BYTES = 65_536;

/** A server of the config, with what its backend says of it. */
export interface FixedServer {
  readonly server: ServerConfig;
  readonly backend: BackendConfig;
}

/** A check of nothing but whether a connection can be made. */
export function connectCheck(timeoutMs: number): HealthConfig {
  const unasked = { path: "/", statuses: [], body: undefined, startUnhealthy: false, intervalMs: 0 };
  return { ...unasked, tcp: true, timeoutMs, rise: 1, fall: 1 };
}

/** Asks a server once; resolves with whether it is well, within `check.timeoutMs`. */
export type CheckServer = (
  server: Server,
  check: HealthConfig,
  fixed: FixedServer | undefined,
) => Promise<boolean>;

/** Checks servers of the config; and those that joined by themselves, which have no address, over the way they came by. */
export function createCheck(deps: TransportDeps): CheckServer {
  return (member, check, fixed) => {
    // One that joined by itself is connected for as long as it is a member.
    if (check.tcp) return fixed ? connects(fixed.server, check.timeoutMs, deps.clock) : Promise.resolve(true);
    const transport = fixed ? ownTransport(fixed, deps) : member.transport;
    const well = answersWell(transport, fixed?.server, check, deps.clock);
    if (fixed) void well.then(() => transport.close());
    return well;
  };
}

/** The server's own name; one without serves whatever it is asked as. */
function authorityOf(server: ServerConfig | undefined): string {
  if (!server || server.socket !== undefined) return "localhost";
  const host = server.host.includes(":") ? `[${server.host}]` : server.host;
  const usual = server.protocol === "https" ? 443 : 80;
  return server.port === usual ? host : `${host}:${server.port}`;
}

function ownTransport({ server, backend }: FixedServer, deps: TransportDeps): Transport {
  return bareTransport(server, { ...backend, maxIdleConnections: 0 }, deps);
}

function connects(server: ServerConfig, timeoutMs: number, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    dial(targetOf(server), { clock, timeoutMs }, (error, socket) => {
      socket?.on("error", () => {}); // What happens to it from here on says nothing more.
      socket?.destroy();
      resolve(error === undefined);
    });
  });
}

function answersWell(
  transport: Transport,
  server: ServerConfig | undefined,
  check: HealthConfig,
  clock: Clock,
): Promise<boolean> {
  return new Promise((resolve) => {
    const judge = (well: boolean): void => {
      timer.cancel();
      resolve(well);
    };
    const timer = clock.after(check.timeoutMs, () => {
      cancel(new EdgeError("UPSTREAM_TIMEOUT", "no answer to a health check", { source: "upstream" }));
      resolve(false);
    });
    const cancel = transport.dispatch(
      {
        method: "GET",
        path: check.path,
        scheme: server?.protocol === "https" ? "https" : "http",
        authority: authorityOf(server),
        headers: ["User-Agent", "skerry-health", "Accept", "*/*"],
        body: undefined,
        protocol: undefined,
      },
      {
        inform() {},
        respond(head, body) {
          const welcome = check.statuses.some(([from, to]) => head.status >= from && head.status <= to);
          if (welcome && check.body !== undefined) {
            if (body) contains(body, check.body, judge);
            else judge(false);
            return;
          }
          body?.cancel();
          judge(welcome);
        },
        upgraded(_head, stream) {
          stream.destroy();
          judge(false);
        },
        failed: () => judge(false),
      },
    );
  });
}

function contains(body: ByteSource, wanted: string, judge: (found: boolean) => void): void {
  const chunks: Uint8Array[] = [];
  let read = 0;
  const look = (): boolean => Buffer.concat(chunks).subarray(0, MOST_BODY_BYTES).includes(wanted);
  body.start({
    write(chunk) {
      chunks.push(chunk);
      read += chunk.length;
      if (read < MOST_BODY_BYTES) return true;
      body.cancel();
      judge(look());
      return false;
    },
    end: () => judge(look()),
    abort: () => judge(false),
  });
}
