/** Response heads as header blocks: encoded once for a head that is used again. */
import type { Clock } from "../clock.ts";
import type { ResponseHead } from "../exchange/exchange.ts";
import type { HeaderList } from "../exchange/headers.ts";
import { dateField } from "./date.ts";
import { writeFields } from "./heads.ts";
import { HpackWriter } from "./hpack.ts";

interface Encoded {
  readonly block: Buffer;
  readonly contentLength: number;
  readonly hasDate: boolean;
}

/** Under this the block hangs on the head's memo: `true` once seen, the block from the second use on. */
const ENCODED = Symbol("http2.block");

/** Holds the block of the response that is being answered. */
export const answerWriter: HpackWriter = new HpackWriter();

/** Whether a status has no body and no Content-Length of its own. */
function lacksLength(status: number): boolean {
  return status < 200 || status === 204 || status === 304;
}

/**
 * Writes the block of a final response into {@link answerWriter} and returns its Content-Length (-1: unknown), or
 * undefined when a field cannot be sent. `bodyLength` is added where the head says nothing.
 */
export function writeAnswer(
  head: ResponseHead,
  clock: Clock,
  bodyLength: number | undefined,
): number | undefined {
  const into = answerWriter;
  into.length = 0;
  const memo = head.memo[ENCODED] as Encoded | true | undefined;
  let contentLength: number;
  let hasDate: boolean;
  if (memo !== undefined && memo !== true) {
    into.raw(memo.block);
    contentLength = memo.contentLength;
    hasDate = memo.hasDate;
  } else {
    into.field(":status", String(head.status));
    const written = writeFields(into, head.headers, head.status !== 204);
    if (written === undefined) return undefined;
    ({ contentLength, hasDate } = written);
    if (memo === undefined) head.memo[ENCODED] = true;
    else {
      const block = Buffer.from(into.bytes.subarray(0, into.length));
      head.memo[ENCODED] = { block, contentLength, hasDate } satisfies Encoded;
    }
  }
  if (contentLength < 0 && bodyLength !== undefined && !lacksLength(head.status)) {
    into.field("content-length", String(bodyLength));
    contentLength = bodyLength;
  }
  if (!hasDate) into.raw(dateField(clock));
  return contentLength;
}

/** An informational or tunnel-opening block: no Date, no length. Undefined when a field cannot be sent. */
export function writeBareAnswer(status: number, headers: HeaderList): HpackWriter | undefined {
  const into = answerWriter;
  into.length = 0;
  into.field(":status", String(status));
  return writeFields(into, headers, false) === undefined ? undefined : into;
}
