/** What a server that answers 429 or 503 says of when to come back (RFC 9110 §10.2.3). */
import type { Clock } from "../clock.ts";
import type { ResponseHead } from "../exchange/exchange.ts";
import { getHeader } from "../exchange/headers.ts";

const SECONDS = /^\d{1,9}$/;

/** Milliseconds from now; 0 where nothing is said, or nothing that can be understood. */
export function retryAfterMs(head: ResponseHead, clock: Clock): number {
  if (head.status !== 429 && head.status !== 503) return 0;
  const value = getHeader(head.headers, "retry-after")?.trim();
  if (!value) return 0;
  if (SECONDS.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? 0 : Math.max(0, date - clock.wall());
}
