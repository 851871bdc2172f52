/** Whole messages out of bytes, without a connection: for tests, fuzzers and tools. */
import type { EdgeError } from "../errors.ts";
import type { HeaderList } from "../exchange/headers.ts";
import { HeadError, type ParsedRequest, type ParsedResponse } from "./head.ts";
import { type BodyOwner, IncomingBody } from "./incoming.ts";
import { HeadCache, type HeadLimits, type HeadReader, requestReader, responseReader } from "./parser.ts";

export interface Message<P> {
  readonly parsed: P;
  /** As latin1 text. */
  readonly body: string;
  readonly trailers: HeaderList | undefined;
  /** False where the bytes ended before the message did. */
  readonly whole: boolean;
}

export interface Messages<P> {
  readonly messages: Message<P>[];
  /** What a client would be told, where the bytes could not be understood. */
  readonly refusal: { readonly status: number; readonly message: string } | undefined;
}

const LIMITS: HeadLimits = { maxHeadBytes: 16_384, maxHeaders: 100 };

const owner: BodyOwner = {
  pauseReading() {},
  resumeReading() {},
  bodyStarted() {},
  bodyCancelled() {},
};

/** Parses pipelined requests; `chunks` are the bytes as a socket might deliver them. */
export function parseRequests(
  chunks: readonly Buffer[],
  limits: HeadLimits = LIMITS,
): Messages<ParsedRequest> {
  return parseAll(chunks, requestReader(limits, "http", new HeadCache(2)), (parsed) =>
    parsed.framed ? parsed.length : undefined,
  );
}

/** Parses responses in a row. `head` says that each answers a HEAD. */
export function parseResponses(
  chunks: readonly Buffer[],
  head = false,
  limits: HeadLimits = LIMITS,
): Messages<ParsedResponse> {
  return parseAll(chunks, responseReader(limits, new HeadCache(2)), (parsed) =>
    head || parsed.length === 0 ? undefined : parsed.length,
  );
}

function parseAll<P>(
  chunks: readonly Buffer[],
  reader: HeadReader<P>,
  lengthOf: (parsed: P) => number | undefined,
): Messages<P> {
  const messages: Message<P>[] = [];
  let open: { parsed: P; body: IncomingBody; read: string; trailers: HeaderList | undefined } | undefined;
  const close = (whole: boolean): void => {
    if (open === undefined) return;
    messages.push({ parsed: open.parsed, body: open.read, trailers: open.trailers, whole });
    open = undefined;
  };
  let refusal: Messages<P>["refusal"];
  try {
    for (const chunk of chunks) {
      let offset = 0;
      while (offset < chunk.length) {
        if (open === undefined) {
          const parsed = reader.push(chunk, offset);
          offset = reader.next;
          if (parsed === undefined) continue;
          const length = lengthOf(parsed);
          if (length === undefined) {
            messages.push({ parsed, body: "", trailers: undefined, whole: true });
            continue;
          }
          const body = new IncomingBody(owner, length, 65_536, LIMITS.maxHeaders);
          const entry = { parsed, body, read: "", trailers: undefined as HeaderList | undefined };
          open = entry;
          body.start({
            write(bytes) {
              entry.read += Buffer.from(bytes).toString("latin1");
              return true;
            },
            end(trailers) {
              entry.trailers = trailers;
            },
            abort(_error: EdgeError) {},
          });
          if (length === 0) body.feed(chunk, offset);
        } else offset = open.body.feed(chunk, offset);
        if (open.body.complete) close(true);
      }
    }
  } catch (thrown) {
    if (!(thrown instanceof HeadError)) throw thrown;
    refusal = { status: thrown.status, message: thrown.message };
  }
  close(open?.body.untilClose === true && refusal === undefined);
  reader.dispose();
  return { messages, refusal };
}
