/** Writes down how a request found its server, where somebody asked for it. */
import type { Clock } from "../clock.ts";
import type { AttemptReason, AttemptTrace, RequestTrace, WeighedServer } from "../exchange/trace.ts";
import type { PlaceReason } from "../upstream/locations.ts";
import type { Server } from "../upstream/server.ts";
import type { PickSink } from "../upstream/sink.ts";

export type AttemptResult = Pick<AttemptTrace, "status" | "code" | "used">;

/** Hears of one pick. */
class Weighing implements PickSink {
  readonly candidates: WeighedServer[] = [];
  place: { location?: string; place: PlaceReason } | undefined;

  weighed(server: string, latencyMs: number, inFlight: number, weight: number, load: number): void {
    this.candidates.push({ server, latencyMs: tenth(latencyMs), inFlight, weight, load: tenth(load) });
  }

  placed(location: string | undefined, place: PlaceReason): void {
    this.place = { ...(location !== undefined && { location }), place };
  }
}

/** Rounded: more digits would be noise in a log. */
export function tenth(value: number): number {
  return Math.round(value * 10) / 10;
}

/** The pen of one request. */
export class Recorder {
  private readonly trace: RequestTrace;
  private readonly startedAt: number;
  private readonly clock: Clock;
  private weighing: Weighing | undefined;

  /** @param startedAt monotonic; all times count from it */
  constructor(trace: RequestTrace, startedAt: number, clock: Clock) {
    this.trace = trace;
    this.startedAt = startedAt;
    this.clock = clock;
    this.weighing = undefined;
  }

  /** What the next pick tells, and the next {@link sent} takes. */
  weigh(): PickSink {
    this.weighing = new Weighing();
    return this.weighing;
  }

  sent({ id, state }: Server, reason: AttemptReason): AttemptTrace {
    const { candidates = [], place } = this.weighing ?? {};
    this.weighing = undefined;
    const note: AttemptTrace = { reason, ...place, candidates, server: id, state, sentMs: this.elapsed() };
    this.trace.attempts.push(note);
    return note;
  }

  /** An attempt has come to the head of its answer, or to its end. */
  ended(note: AttemptTrace | undefined, result: AttemptResult): void {
    if (note) Object.assign(note, { endMs: this.elapsed(), ...result });
  }

  private elapsed(): number {
    return tenth(this.clock.now() - this.startedAt);
  }
}

/** `Server-Timing` entries: one for each attempt, in the order of sending. Names of servers hold no quote. */
export function serverTiming({ attempts }: RequestTrace, totalMs: number): string {
  const entries = attempts.map(({ reason, server, sentMs, endMs = totalMs, status, code }, index) => {
    const result = status ?? code ?? "unanswered";
    const said = `${reason} ${server} ${result}`.replaceAll(/["\\]|[^\x20-\x7e]/g, "");
    return `try${index + 1};dur=${tenth(endMs - sentMs)};desc="${said}"`;
  });
  return [...entries, `edge;dur=${tenth(totalMs)}`].join(", ");
}
