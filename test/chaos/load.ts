/** Visitors of every edge that is there, without end: what they got that was no 200. */
import https from "node:https";
import { setTimeout as pause } from "node:timers/promises";
import { visit } from "../runtime/client.ts";
import { HOSTS, type Life, lifeOf, type Seat } from "./world.ts";

/** Between two requests of one visitor: the machine has other things to do. */
const PAUSE_MS = 20;
/** Every so many requests on a new connection. */
const FRESH = 10;

export interface Load {
  readonly count: number;
  /** On connections to an edge that was killed. */
  readonly excused: number;
  readonly failures: readonly string[];
  /** Resolves when nobody of an edge's visitors is under way; they stay away while it is not open. */
  idle(seat: Seat): Promise<void>;
  /** One request more. */
  ask(seat: Seat, host: string, path?: string): Promise<void>;
  stop(): Promise<void>;
}

export function startLoad(seats: readonly Seat[]): Load {
  let running = true;
  const told = { count: 0, excused: 0 };
  const failures: string[] = [];
  const busy = new Map<Seat, Set<Promise<void>>>(seats.map((seat) => [seat, new Set()]));

  const once = async (seat: Seat, life: Life, to: { host: string; path?: string; agent?: https.Agent }) => {
    const fail = (what: string): void => {
      if (life.killedAt !== undefined) told.excused++;
      else
        failures.push(
          `${new Date().toISOString()} ${life.edge.runtime} (place-${seat.index}) ${to.host}${to.path ?? "/"}: ${what}`,
        );
    };
    try {
      const { status, body } = await visit({ port: seat.https, ...to });
      if (status !== 200) fail(`${status} ${body.slice(0, 200)}`);
    } catch (error) {
      fail(String(error));
    }
    told.count++;
  };
  const visitor = async (seat: Seat, host: string): Promise<void> => {
    let life: Life | undefined;
    let agent: https.Agent | undefined;
    for (let turn = 0; running; turn++) {
      const welcome = seat.open && (host !== HOSTS.tunnel || seat.joined);
      if (welcome) {
        if (life !== lifeOf(seat)) {
          agent?.destroy();
          agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
          life = lifeOf(seat);
        }
        const under = once(seat, life, { host, ...(turn % FRESH !== 0 && agent && { agent }) });
        const all = busy.get(seat)!;
        all.add(under);
        await under;
        all.delete(under);
      }
      await pause(PAUSE_MS);
    }
    agent?.destroy();
  };
  const visitors = seats.flatMap((seat) =>
    [HOSTS.fixed, HOSTS.tunnel, HOSTS.tunnel].map((host) => visitor(seat, host)),
  );
  return {
    get count() {
      return told.count;
    },
    get excused() {
      return told.excused;
    },
    failures,
    async idle(seat) {
      await Promise.all(busy.get(seat)!);
    },
    ask: (seat, host, path = "/") => once(seat, lifeOf(seat), { host, path }),
    async stop() {
      running = false;
      await Promise.all(visitors);
    },
  };
}
