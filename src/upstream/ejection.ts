/**
 * Passive health: a server that fails requests is *ejected*, then *probed* with one request at a time until one goes
 * well. Only gateway failures count (no connection, reset, timeout); an application's own 500 says nothing of the
 * server, and a client that finds a failing URL must not be able to evict a backend.
 */

/** How a request on a server ended. */
export type Outcome =
  /** It was answered, to the last byte. */
  | "ok"
  /** No connection could be made: nothing listens, or nothing answers. */
  | "unreachable"
  /** The connection broke, the answer was malformed or did not come in time. */
  | "broken"
  /** The server declined it without looking (REFUSED_STREAM, GOAWAY): it is busy or leaving, not ill. */
  | "declined"
  /** Another server answered the same request first: this one is slower, and where it answers nobody it stands still. */
  | "overtaken"
  /** The client left, or the answer was not wanted: says nothing. */
  | "abandoned";

/** Failures in a row that eject a server. */
export const FAILURES_TO_EJECT = 3;
/** The wait for the first probe; it doubles with every probe that fails. */
export const FIRST_PROBE_MS = 1000;
export const LONGEST_PROBE_MS = 30_000;
/**
 * The same for one that was overtaken: only where requests are hedged is there such a thing, and there a probe costs one of
 * them the hedge's delay. A pause for collecting garbage is over by the first probe.
 */
export const FIRST_STALL_PROBE_MS = 250;
export const LONGEST_STALL_PROBE_MS = 4000;
/** A server ejected again within this time starts with a longer wait. */
export const MEMORY_MS = 300_000;

/** Whether one more of `members` may be ejected while `available` of them are left. */
export function mayEject(available: number, members: number, outcome: Outcome): boolean {
  if (available <= 1) return false;
  // A server that refuses connections serves nobody; the bound is for failures that may be the requests' own.
  return outcome === "unreachable" || (members - available + 1) * 2 <= members;
}

/** After so long without a probe any request may be one: some backends only ever get POSTs. */
export const OVERDUE_MS = 5000;

/** One server's record. */
export class Ejection {
  /** Failures since the last good answer. */
  failures = 0;
  /** Requests that others answered first, since its own last answer. */
  stalls = 0;
  ejected = false;
  /** A probe is under way. */
  probing = false;
  /** Monotonic time from which a request may probe. */
  probeAt: number = Number.POSITIVE_INFINITY;
  /** The last failure was one to connect. */
  unreachable = false;
  private ejections = 0;
  private since = Number.NEGATIVE_INFINITY;
  private waitMs = FIRST_PROBE_MS;
  private longestMs = LONGEST_PROBE_MS;

  /** Counts a failure; true when it is time to eject. */
  fail(outcome: Outcome): boolean {
    this.unreachable = outcome === "unreachable";
    this.failures++;
    return this.failures >= FAILURES_TO_EJECT;
  }

  /** Counts a request that another server answered first; true when it is time to eject. */
  stall(): boolean {
    this.stalls++;
    return this.stalls >= FAILURES_TO_EJECT;
  }

  /**
   * Whether a request may be the probe. One that cannot be repeated may where the server was merely unreachable (a
   * failure to connect is tried elsewhere, whatever the method), and where nobody else came to probe it.
   */
  due(now: number, repeatable: boolean): boolean {
    if (this.probeAt > now) return false;
    return repeatable || this.unreachable || now - this.probeAt >= OVERDUE_MS;
  }

  eject(now: number, outcome: Outcome): void {
    this.unreachable = outcome === "unreachable";
    if (now - this.since > MEMORY_MS) this.ejections = 0;
    const stalled = outcome === "overtaken";
    this.longestMs = stalled ? LONGEST_STALL_PROBE_MS : LONGEST_PROBE_MS;
    this.waitMs = Math.min(
      (stalled ? FIRST_STALL_PROBE_MS : FIRST_PROBE_MS) * 2 ** this.ejections,
      this.longestMs,
    );
    this.ejections++;
    this.since = now;
    this.ejected = true;
    this.probing = false;
    this.probeAt = now + this.waitMs;
  }

  probe(): void {
    this.probing = true;
    this.probeAt = Number.POSITIVE_INFINITY;
  }

  /** The probe failed (the wait doubles), or ended without telling anything (the next request may probe). */
  probeEnded(now: number, outcome: Outcome): void {
    const failed = outcome === "unreachable" || outcome === "broken" || outcome === "overtaken";
    if (failed) this.unreachable = outcome === "unreachable";
    if (failed) this.waitMs = Math.min(this.waitMs * 2, this.longestMs);
    this.probing = false;
    this.probeAt = failed ? now + this.waitMs : now;
  }

  /** Nobody needs to probe before `at`: it is known from elsewhere how it is. */
  postpone(at: number): void {
    if (this.ejected && !this.probing) this.probeAt = at;
  }

  restore(now: number): void {
    this.failures = this.stalls = 0;
    if (!this.ejected) return;
    this.ejected = false;
    this.probing = false;
    this.probeAt = Number.POSITIVE_INFINITY;
    this.since = now;
  }
}
