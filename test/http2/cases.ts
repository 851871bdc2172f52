/** What RFC 9113 and RFC 7541 ask of a server, section by section: frames that are sent, and what must come of it. */
import {
  COMPRESSION_ERROR,
  FLOW_CONTROL_ERROR,
  FRAME_SIZE_ERROR,
  PROTOCOL_ERROR,
  REFUSED_STREAM,
  STREAM_CLOSED,
} from "../../src/http2/errors.ts";
import {
  CONTINUATION,
  DATA,
  encodeFrame,
  GOAWAY,
  HEADERS,
  PING,
  PRIORITY,
  PUSH_PROMISE,
  RST_STREAM,
  SETTINGS,
  settingsPayload,
  WINDOW_UPDATE,
} from "../../src/http2/frames.ts";
import { huffmanEncode, huffmanLength } from "../../src/http2/huffman.ts";
import { block, fields as plainFields, type RawClient, uint32 } from "./support.ts";

export const END = 0x1;
export const END_HEADERS = 0x4;
const PADDED = 0x8;
const WITH_PRIORITY = 0x20;
export const OPEN: number = END_HEADERS;
export const WHOLE: number = END | END_HEADERS;

/** What must come of it: a connection error, a stream error on stream 1, an answer on stream 1, or nothing at all. */
export type Outcome = { connection: number } | { stream: number; id?: number } | "answer" | "survives";

export type Case = readonly [
  section: string,
  fact: string,
  act: (c: RawClient) => void | Promise<void>,
  outcome: Outcome,
];

const windowZero = encodeFrame(SETTINGS, 0, 0, settingsPayload([[4, 0]]));

/** A literal field (RFC 7541 §6.2): `first` says which kind, and the index of the name where it has one. */
function literal(first: number, texts: readonly string[], huffman: boolean): Buffer {
  const parts = texts.map((text) => {
    if (!huffman) return Buffer.concat([Buffer.from([text.length]), Buffer.from(text, "latin1")]);
    const coded = Buffer.alloc(1 + huffmanLength(text));
    huffmanEncode(text, coded, 1);
    coded[0] = 0x80 | huffmanLength(text);
    return coded;
  });
  return Buffer.concat([Buffer.from([first]), ...parts]);
}

const priority = (on: number, weight = 255): Buffer => Buffer.concat([uint32(on), Buffer.from([weight])]);

/** The cases for a server that answers GET and POST to "/" of `authority` with 200 and a body. */
export function casesFor(scheme: "http" | "https", authority: string): readonly Case[] {
  const fields = (changes: Record<string, string | undefined> = {}): string[] =>
    plainFields({ ":scheme": scheme, ":authority": authority, ...changes });
  const POST = fields({ ":method": "POST" });
  const headers = (id: number, flags: number, list: readonly string[] = fields()): Buffer =>
    encodeFrame(HEADERS, flags, id, block(list));
  /** Stream 1 is answered and over. */
  const finish = async (c: RawClient): Promise<void> => {
    c.send(headers(1, WHOLE));
    await c.next((frame) => frame.streamId === 1 && (frame.flags & END) !== 0 && frame.type === DATA);
  };
  /** Exactly so much DATA comes next. */
  const firstData = async (c: RawClient, size: number): Promise<void> => {
    const frame = await c.next(({ type }) => type === DATA);
    if (frame?.payload.length !== size)
      throw new Error(`${frame?.payload.length} bytes of DATA, not ${size}`);
  };
  return [
    // §4 frames
    [
      "4.1",
      "an unknown frame type is ignored",
      (c) => c.send(encodeFrame(0x16, 0, 0, Buffer.alloc(8))),
      "survives",
    ],
    [
      "4.1",
      "undefined flags are ignored",
      (c) => c.send(encodeFrame(PING, 0x16, 0, Buffer.alloc(8))),
      "survives",
    ],
    [
      "4.1",
      "the reserved bit is ignored",
      (c) => c.send(encodeFrame(PING, 0, 0x80000000, Buffer.alloc(8))),
      "survives",
    ],
    [
      "4.2",
      "DATA of 2^14 bytes is taken",
      (c) => c.send(headers(1, OPEN, POST), encodeFrame(DATA, END, 1, Buffer.alloc(16_384))),
      "answer",
    ],
    [
      "4.2",
      "DATA beyond MAX_FRAME_SIZE",
      (c) => c.send(headers(1, OPEN, POST), encodeFrame(DATA, END, 1, Buffer.alloc(16_385))),
      { connection: FRAME_SIZE_ERROR },
    ],
    [
      "4.2",
      "HEADERS beyond MAX_FRAME_SIZE",
      (c) => c.send(encodeFrame(HEADERS, WHOLE, 1, Buffer.alloc(16_385))),
      { connection: FRAME_SIZE_ERROR },
    ],
    [
      "4.3",
      "a header block that does not decode",
      (c) => c.send(encodeFrame(HEADERS, WHOLE, 1, Buffer.from([0x40, 0x05, 0x61]))),
      { connection: COMPRESSION_ERROR },
    ],
    [
      "4.3",
      "PRIORITY within a header block",
      (c) => c.send(headers(1, END), encodeFrame(PRIORITY, 0, 1, priority(0))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "4.3",
      "HEADERS of another stream within a header block",
      (c) => c.send(headers(1, END), headers(3, WHOLE)),
      { connection: PROTOCOL_ERROR },
    ],
    // §5.1 states
    [
      "5.1",
      "DATA on an idle stream",
      (c) => c.send(encodeFrame(DATA, END, 1, Buffer.from("test"))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "5.1",
      "RST_STREAM on an idle stream",
      (c) => c.send(encodeFrame(RST_STREAM, 0, 1, uint32(8))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "5.1",
      "WINDOW_UPDATE on an idle stream",
      (c) => c.send(encodeFrame(WINDOW_UPDATE, 0, 1, uint32(100))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "5.1",
      "CONTINUATION on an idle stream",
      (c) => c.send(encodeFrame(CONTINUATION, END_HEADERS, 1, block(fields()))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "5.1",
      "PRIORITY on an idle stream is taken",
      (c) => c.send(encodeFrame(PRIORITY, 0, 1, priority(0))),
      "survives",
    ],
    [
      "5.1",
      "DATA on a half-closed (remote) stream",
      (c) => c.send(windowZero, headers(1, WHOLE), encodeFrame(DATA, END, 1, Buffer.from("test"))),
      { stream: STREAM_CLOSED },
    ],
    [
      "5.1",
      "HEADERS on a half-closed (remote) stream",
      (c) => c.send(windowZero, headers(1, WHOLE), headers(1, WHOLE)),
      { stream: STREAM_CLOSED },
    ],
    [
      "5.1",
      "CONTINUATION on a half-closed (remote) stream",
      (c) =>
        c.send(windowZero, headers(1, WHOLE), encodeFrame(CONTINUATION, END_HEADERS, 1, block(fields()))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "5.1",
      "WINDOW_UPDATE and PRIORITY on a half-closed (remote) stream are taken",
      (c) =>
        c.send(
          windowZero,
          headers(1, WHOLE),
          encodeFrame(PRIORITY, 0, 1, priority(0)),
          encodeFrame(WINDOW_UPDATE, 0, 1, uint32(100)),
        ),
      "answer",
    ],
    [
      "5.1",
      "RST_STREAM on a half-closed (remote) stream is taken",
      (c) => c.send(windowZero, headers(1, WHOLE), encodeFrame(RST_STREAM, 0, 1, uint32(8))),
      "survives",
    ],
    [
      "5.1",
      "DATA after RST_STREAM",
      (c) =>
        c.send(
          headers(1, OPEN),
          encodeFrame(RST_STREAM, 0, 1, uint32(8)),
          encodeFrame(DATA, END, 1, Buffer.from("test")),
        ),
      { stream: STREAM_CLOSED },
    ],
    [
      "5.1",
      "HEADERS after RST_STREAM",
      (c) => c.send(headers(1, OPEN), encodeFrame(RST_STREAM, 0, 1, uint32(8)), headers(1, WHOLE)),
      { stream: STREAM_CLOSED },
    ],
    [
      "5.1",
      "CONTINUATION after RST_STREAM",
      (c) =>
        c.send(
          headers(1, OPEN),
          encodeFrame(RST_STREAM, 0, 1, uint32(8)),
          encodeFrame(CONTINUATION, END_HEADERS, 1, block(fields())),
        ),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "5.1",
      "DATA on a closed stream",
      async (c) => {
        await finish(c);
        c.send(encodeFrame(DATA, END, 1, Buffer.from("test")));
      },
      { connection: STREAM_CLOSED },
    ],
    [
      "5.1",
      "HEADERS on a closed stream",
      async (c) => {
        await finish(c);
        c.send(headers(1, WHOLE));
      },
      { connection: STREAM_CLOSED },
    ],
    [
      "5.1",
      "CONTINUATION on a closed stream",
      async (c) => {
        await finish(c);
        c.send(encodeFrame(CONTINUATION, END_HEADERS, 1, block(fields())));
      },
      { connection: PROTOCOL_ERROR },
    ],
    [
      "5.1",
      "PRIORITY, WINDOW_UPDATE and RST_STREAM on a closed stream are taken",
      async (c) => {
        await finish(c);
        c.send(
          encodeFrame(PRIORITY, 0, 1, priority(0)),
          encodeFrame(WINDOW_UPDATE, 0, 1, uint32(1)),
          encodeFrame(RST_STREAM, 0, 1, uint32(8)),
        );
      },
      "survives",
    ],
    ["5.1.1", "an even stream id", (c) => c.send(headers(2, WHOLE)), { connection: PROTOCOL_ERROR }],
    [
      "5.1.1",
      "a stream id below an earlier one",
      (c) => c.send(headers(5, WHOLE), headers(3, WHOLE)),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "5.1.2",
      "a stream beyond MAX_CONCURRENT_STREAMS",
      (c) => {
        for (let i = 0; i <= 128; i++) c.send(headers(1 + 2 * i, OPEN, POST));
      },
      { stream: REFUSED_STREAM, id: 257 },
    ],
    [
      "5.3.1",
      "HEADERS that depend on their own stream",
      (c) =>
        c.send(encodeFrame(HEADERS, WHOLE | WITH_PRIORITY, 1, Buffer.concat([priority(1), block(fields())]))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "5.3.1",
      "PRIORITY that depends on its own stream",
      (c) => c.send(headers(1, OPEN, POST), encodeFrame(PRIORITY, 0, 1, priority(1))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "5.5",
      "an unknown frame within a header block",
      (c) => c.send(headers(1, END), encodeFrame(0x16, 0, 0, Buffer.alloc(8))),
      { connection: PROTOCOL_ERROR },
    ],
    // §6.1 DATA
    [
      "6.1",
      "DATA on stream 0",
      (c) => c.send(encodeFrame(DATA, END, 0, Buffer.from("test"))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.1",
      "padding as long as DATA",
      (c) => c.send(headers(1, OPEN, POST), encodeFrame(DATA, END | PADDED, 1, Buffer.from([6, 1, 2, 3, 4]))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.1",
      "padded DATA without a length",
      (c) => c.send(headers(1, OPEN, POST), encodeFrame(DATA, END | PADDED, 1)),
      { connection: FRAME_SIZE_ERROR },
    ],
    [
      "6.1",
      "padded DATA is taken",
      (c) =>
        c.send(headers(1, OPEN, POST), encodeFrame(DATA, END | PADDED, 1, Buffer.from([2, 65, 66, 0, 0]))),
      "answer",
    ],
    // §6.2 HEADERS
    ["6.2", "HEADERS on stream 0", (c) => c.send(headers(0, WHOLE)), { connection: PROTOCOL_ERROR }],
    [
      "6.2",
      "padding as long as HEADERS",
      (c) =>
        c.send(encodeFrame(HEADERS, WHOLE | PADDED, 1, Buffer.concat([Buffer.from([200]), block(fields())]))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.2",
      "padded HEADERS with priority are taken",
      (c) =>
        c.send(
          encodeFrame(
            HEADERS,
            WHOLE | PADDED | WITH_PRIORITY,
            1,
            Buffer.concat([Buffer.from([3]), priority(0), block(fields()), Buffer.alloc(3)]),
          ),
        ),
      "answer",
    ],
    // §6.3 PRIORITY
    [
      "6.3",
      "PRIORITY on stream 0",
      (c) => c.send(encodeFrame(PRIORITY, 0, 0, priority(1))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.3",
      "PRIORITY of another size",
      (c) => c.send(headers(1, OPEN, POST), encodeFrame(PRIORITY, 0, 1, Buffer.alloc(4))),
      { stream: FRAME_SIZE_ERROR },
    ],
    // §6.4 RST_STREAM
    [
      "6.4",
      "RST_STREAM on stream 0",
      (c) => c.send(encodeFrame(RST_STREAM, 0, 0, uint32(8))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.4",
      "RST_STREAM of another size",
      (c) => c.send(headers(1, OPEN, POST), encodeFrame(RST_STREAM, 0, 1, Buffer.alloc(3))),
      { connection: FRAME_SIZE_ERROR },
    ],
    // §6.5 SETTINGS
    [
      "6.5",
      "SETTINGS ACK with content",
      (c) => c.send(encodeFrame(SETTINGS, 1, 0, Buffer.alloc(6))),
      { connection: FRAME_SIZE_ERROR },
    ],
    [
      "6.5",
      "SETTINGS on a stream",
      (c) => c.send(encodeFrame(SETTINGS, 0, 1, settingsPayload([[3, 1]]))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.5",
      "SETTINGS of another size",
      (c) => c.send(encodeFrame(SETTINGS, 0, 0, Buffer.alloc(5))),
      { connection: FRAME_SIZE_ERROR },
    ],
    [
      "6.5.2",
      "ENABLE_PUSH of 2",
      (c) => c.send(encodeFrame(SETTINGS, 0, 0, settingsPayload([[2, 2]]))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.5.2",
      "INITIAL_WINDOW_SIZE above 2^31-1",
      (c) => c.send(encodeFrame(SETTINGS, 0, 0, settingsPayload([[4, 0x80000000]]))),
      { connection: FLOW_CONTROL_ERROR },
    ],
    [
      "6.5.2",
      "MAX_FRAME_SIZE below 2^14",
      (c) => c.send(encodeFrame(SETTINGS, 0, 0, settingsPayload([[5, 16_383]]))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.5.2",
      "MAX_FRAME_SIZE above 2^24-1",
      (c) => c.send(encodeFrame(SETTINGS, 0, 0, settingsPayload([[5, 16_777_216]]))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.5.2",
      "an unknown setting is ignored",
      (c) => c.send(encodeFrame(SETTINGS, 0, 0, settingsPayload([[0xff, 1]]))),
      "survives",
    ],
    [
      "8441 3",
      "ENABLE_CONNECT_PROTOCOL of 2",
      (c) => c.send(encodeFrame(SETTINGS, 0, 0, settingsPayload([[8, 2]]))),
      { connection: PROTOCOL_ERROR },
    ],
    // §6.7 PING, §6.8 GOAWAY
    [
      "6.7",
      "PING ACK is not answered",
      (c) => c.send(encodeFrame(PING, 1, 0, Buffer.from("invalid!"))),
      "survives",
    ],
    [
      "6.7",
      "PING on a stream",
      (c) => c.send(encodeFrame(PING, 0, 1, Buffer.alloc(8))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.7",
      "PING of another size",
      (c) => c.send(encodeFrame(PING, 0, 0, Buffer.alloc(6))),
      { connection: FRAME_SIZE_ERROR },
    ],
    [
      "6.8",
      "GOAWAY on a stream",
      (c) => c.send(encodeFrame(GOAWAY, 0, 1, Buffer.alloc(8))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.8",
      "GOAWAY of another size",
      (c) => c.send(encodeFrame(GOAWAY, 0, 0, Buffer.alloc(7))),
      { connection: FRAME_SIZE_ERROR },
    ],
    [
      "7",
      "GOAWAY with an unknown code is taken",
      (c) =>
        c.send(headers(1, OPEN, POST), encodeFrame(GOAWAY, 0, 0, Buffer.concat([uint32(0), uint32(0xff)]))),
      "survives",
    ],
    [
      "7",
      "RST_STREAM with an unknown code is taken",
      (c) => c.send(headers(1, OPEN, POST), encodeFrame(RST_STREAM, 0, 1, uint32(0xff))),
      "survives",
    ],
    // §6.9 WINDOW_UPDATE
    [
      "6.9",
      "an increment of 0 on the connection",
      (c) => c.send(encodeFrame(WINDOW_UPDATE, 0, 0, uint32(0))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.9",
      "an increment of 0 on a stream",
      (c) => c.send(headers(1, OPEN, POST), encodeFrame(WINDOW_UPDATE, 0, 1, uint32(0))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "6.9",
      "WINDOW_UPDATE of another size",
      (c) => c.send(encodeFrame(WINDOW_UPDATE, 0, 0, Buffer.alloc(3))),
      { connection: FRAME_SIZE_ERROR },
    ],
    [
      "6.9.1",
      "the connection's window above 2^31-1",
      (c) =>
        c.send(
          encodeFrame(WINDOW_UPDATE, 0, 0, uint32(0x7fffffff)),
          encodeFrame(WINDOW_UPDATE, 0, 0, uint32(0x7fffffff)),
        ),
      { connection: FLOW_CONTROL_ERROR },
    ],
    [
      "6.9.1",
      "a stream's window above 2^31-1",
      (c) =>
        c.send(
          headers(1, OPEN, POST),
          encodeFrame(WINDOW_UPDATE, 0, 1, uint32(0x7fffffff)),
          encodeFrame(WINDOW_UPDATE, 0, 1, uint32(0x7fffffff)),
        ),
      { stream: FLOW_CONTROL_ERROR },
    ],
    [
      "6.9.2",
      "INITIAL_WINDOW_SIZE that makes a window overflow",
      (c) =>
        c.send(
          headers(1, OPEN, POST),
          encodeFrame(WINDOW_UPDATE, 0, 1, uint32(0x7fffffff - 65_535)),
          encodeFrame(SETTINGS, 0, 0, settingsPayload([[4, 131_072]])),
        ),
      { connection: FLOW_CONTROL_ERROR },
    ],
    // §6.10 CONTINUATION
    [
      "6.10",
      "several CONTINUATION frames are taken",
      (c) => {
        const whole = block(fields());
        c.send(
          encodeFrame(HEADERS, END, 1, whole.subarray(0, 9)),
          encodeFrame(CONTINUATION, 0, 1, whole.subarray(9, 20)),
          encodeFrame(CONTINUATION, END_HEADERS, 1, whole.subarray(20)),
        );
      },
      "answer",
    ],
    [
      "6.10",
      "CONTINUATION, then something else",
      (c) =>
        c.send(
          headers(1, END),
          encodeFrame(CONTINUATION, 0, 1, block(["x-a", "b"])),
          encodeFrame(DATA, END, 1, Buffer.from("test")),
        ),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.10",
      "CONTINUATION on stream 0",
      (c) => c.send(headers(1, END), encodeFrame(CONTINUATION, END_HEADERS, 0, block(["x-a", "b"]))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.10",
      "CONTINUATION after END_HEADERS",
      (c) => c.send(headers(1, OPEN, POST), encodeFrame(CONTINUATION, END_HEADERS, 1, block(["x-a", "b"]))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.10",
      "CONTINUATION after a CONTINUATION with END_HEADERS",
      (c) =>
        c.send(
          headers(1, 0, POST),
          encodeFrame(CONTINUATION, END_HEADERS, 1, block(["x-a", "b"])),
          encodeFrame(CONTINUATION, END_HEADERS, 1, block(["x-a", "b"])),
        ),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "6.10",
      "CONTINUATION after DATA",
      (c) =>
        c.send(
          headers(1, OPEN, POST),
          encodeFrame(DATA, 0, 1, Buffer.from("test")),
          encodeFrame(CONTINUATION, END_HEADERS, 1, block(["x-a", "b"])),
        ),
      { connection: PROTOCOL_ERROR },
    ],
    // §8.1 messages
    [
      "8.1",
      "trailers without END_STREAM",
      (c) =>
        c.send(
          headers(1, OPEN, POST),
          encodeFrame(DATA, 0, 1, Buffer.from("test")),
          headers(1, OPEN, ["x-a", "b"]),
        ),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.1",
      "trailers are taken",
      (c) =>
        c.send(
          headers(1, OPEN, POST),
          encodeFrame(DATA, 0, 1, Buffer.from("test")),
          headers(1, WHOLE, ["x-a", "b"]),
        ),
      "answer",
    ],
    [
      "8.1",
      "a pseudo-header among trailers",
      (c) => c.send(headers(1, OPEN, POST), headers(1, WHOLE, [":method", "GET"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.1.1",
      "Content-Length above what DATA brings",
      (c) =>
        c.send(
          headers(1, OPEN, [...POST, "content-length", "5"]),
          encodeFrame(DATA, END, 1, Buffer.from("test")),
        ),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.1.1",
      "Content-Length below what DATA brings",
      (c) =>
        c.send(
          headers(1, OPEN, [...POST, "content-length", "1"]),
          encodeFrame(DATA, END, 1, Buffer.from("test")),
        ),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.1.1",
      "Content-Length below what several DATA bring",
      (c) =>
        c.send(
          headers(1, OPEN, [...POST, "content-length", "5"]),
          encodeFrame(DATA, 0, 1, Buffer.from("test")),
          encodeFrame(DATA, END, 1, Buffer.from("test")),
        ),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.1.1",
      "Content-Length without DATA",
      (c) => c.send(headers(1, WHOLE, [...POST, "content-length", "1"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.1.1",
      "Content-Length and trailers before its end",
      (c) => c.send(headers(1, OPEN, [...POST, "content-length", "5"]), headers(1, WHOLE, ["x-a", "b"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.1.1",
      "two Content-Lengths",
      (c) => c.send(headers(1, OPEN, [...POST, "content-length", "4", "content-length", "4"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.1.1",
      "a Content-Length that is no number",
      (c) => c.send(headers(1, OPEN, [...POST, "content-length", "+4"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.1",
      "a name in upper case",
      (c) => c.send(headers(1, WHOLE, [...fields(), "X-TEST", "ok"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.1",
      "a name with a space",
      (c) => c.send(headers(1, WHOLE, [...fields(), "x test", "ok"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.1",
      "an empty name",
      (c) => c.send(headers(1, WHOLE, [...fields(), "", "ok"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.1",
      "a name with a colon",
      (c) => c.send(headers(1, WHOLE, [...fields(), "x:y", "ok"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.1",
      "a value with CR",
      (c) => c.send(headers(1, WHOLE, [...fields(), "x-a", "a\rb"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.1",
      "a value with LF",
      (c) => c.send(headers(1, WHOLE, [...fields(), "x-a", "a\nb"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.1",
      "a value with NUL",
      (c) => c.send(headers(1, WHOLE, [...fields(), "x-a", "a\0b"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.1",
      "a value with a control byte",
      (c) => c.send(headers(1, WHOLE, [...fields(), "x-a", "a\x01b"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.1",
      "a value that begins with a space",
      (c) => c.send(headers(1, WHOLE, [...fields(), "x-a", " b"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.2",
      "a Connection field",
      (c) => c.send(headers(1, WHOLE, [...fields(), "connection", "keep-alive"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.2",
      "a Transfer-Encoding field",
      (c) => c.send(headers(1, WHOLE, [...fields(), "transfer-encoding", "chunked"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.2",
      "an Upgrade field",
      (c) => c.send(headers(1, WHOLE, [...fields(), "upgrade", "h2c"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.2",
      "TE other than trailers",
      (c) => c.send(headers(1, WHOLE, [...fields(), "te", "trailers, deflate"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.2.2",
      "TE: trailers is taken",
      (c) => c.send(headers(1, WHOLE, [...fields(), "te", "trailers"])),
      "answer",
    ],
    [
      "8.3",
      "an unknown pseudo-header",
      (c) => c.send(headers(1, WHOLE, [":test", "ok", ...fields()])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3",
      "a response's pseudo-header",
      (c) => c.send(headers(1, WHOLE, [...fields(), ":status", "200"])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3",
      "a pseudo-header after a field",
      (c) => c.send(headers(1, WHOLE, ["x-a", "b", ...fields()])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "an empty :path",
      (c) => c.send(headers(1, WHOLE, fields({ ":path": "" }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "a :path that does not begin with a slash",
      (c) => c.send(headers(1, WHOLE, fields({ ":path": "http://a/" }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "a :path with a space",
      (c) => c.send(headers(1, WHOLE, fields({ ":path": "/a b" }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "a :path with a fragment",
      (c) => c.send(headers(1, WHOLE, fields({ ":path": "/a#b" }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "* for another method than OPTIONS",
      (c) => c.send(headers(1, WHOLE, fields({ ":path": "*" }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "OPTIONS * is taken",
      (c) => c.send(headers(1, WHOLE, fields({ ":path": "*", ":method": "OPTIONS" }))),
      "answer",
    ],
    [
      "8.3.1",
      "no :method",
      (c) => c.send(headers(1, WHOLE, fields({ ":method": undefined }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "a :method that is no token",
      (c) => c.send(headers(1, WHOLE, fields({ ":method": "GE T" }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "no :scheme",
      (c) => c.send(headers(1, WHOLE, fields({ ":scheme": undefined }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "no :path",
      (c) => c.send(headers(1, WHOLE, fields({ ":path": undefined }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "two :method",
      (c) => c.send(headers(1, WHOLE, [":method", "GET", ...fields()])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "two :scheme",
      (c) => c.send(headers(1, WHOLE, [":scheme", scheme, ...fields()])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "two :path",
      (c) => c.send(headers(1, WHOLE, [":path", "/", ...fields()])),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "neither :authority nor Host",
      (c) => c.send(headers(1, WHOLE, fields({ ":authority": undefined }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "Host alone is taken",
      (c) => c.send(headers(1, WHOLE, fields({ ":authority": undefined, host: authority }))),
      "answer",
    ],
    [
      "8.3.1",
      "Host that differs from :authority",
      (c) => c.send(headers(1, WHOLE, fields({ host: "b.test" }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.3.1",
      "an :authority with user information",
      (c) => c.send(headers(1, WHOLE, fields({ ":authority": `me@${authority}` }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.4",
      "PUSH_PROMISE",
      (c) => c.send(encodeFrame(PUSH_PROMISE, END_HEADERS, 1, Buffer.concat([uint32(2), block(fields())]))),
      { connection: PROTOCOL_ERROR },
    ],
    [
      "8.5",
      "CONNECT with :path",
      (c) => c.send(headers(1, WHOLE, fields({ ":method": "CONNECT" }))),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8441 4",
      ":protocol on another method",
      (c) => c.send(headers(1, WHOLE, fields({ ":protocol": "websocket" }))),
      { stream: PROTOCOL_ERROR },
    ],
    // RFC 7541
    [
      "7541 2.3.3",
      "an index beyond the tables",
      (c) => c.send(encodeFrame(HEADERS, WHOLE, 1, Buffer.concat([block(fields()), Buffer.from([0xc6])]))),
      { connection: COMPRESSION_ERROR },
    ],
    [
      "7541 2.3.3",
      "a literal whose name is beyond the tables",
      (c) =>
        c.send(
          encodeFrame(HEADERS, WHOLE, 1, Buffer.concat([block(fields()), Buffer.from([0x7f, 0x07, 1, 97])])),
        ),
      { connection: COMPRESSION_ERROR },
    ],
    [
      "7541 4.2",
      "a table size update after a field",
      (c) => c.send(encodeFrame(HEADERS, WHOLE, 1, Buffer.concat([block(fields()), Buffer.from([0x20])]))),
      { connection: COMPRESSION_ERROR },
    ],
    [
      "7541 5.1",
      "an integer that does not end",
      (c) => c.send(encodeFrame(HEADERS, WHOLE, 1, Buffer.concat([block(fields()), Buffer.alloc(12, 0xff)]))),
      { connection: COMPRESSION_ERROR },
    ],
    [
      "7541 5.2",
      "Huffman padding longer than 7 bits",
      (c) =>
        c.send(
          encodeFrame(
            HEADERS,
            WHOLE,
            1,
            Buffer.concat([block(fields()), Buffer.from([0, 1, 97, 0x82, 0x1f, 0xff])]),
          ),
        ),
      { connection: COMPRESSION_ERROR },
    ],
    [
      "7541 5.2",
      "Huffman padding of zeros",
      (c) =>
        c.send(
          encodeFrame(
            HEADERS,
            WHOLE,
            1,
            Buffer.concat([block(fields()), Buffer.from([0, 1, 97, 0x81, 0x18])]),
          ),
        ),
      { connection: COMPRESSION_ERROR },
    ],
    [
      "7541 5.2",
      "EOS within a Huffman string",
      (c) =>
        c.send(
          encodeFrame(
            HEADERS,
            WHOLE,
            1,
            Buffer.concat([block(fields()), Buffer.from([0, 1, 97, 0x84, 0xff, 0xff, 0xff, 0xff])]),
          ),
        ),
      { connection: COMPRESSION_ERROR },
    ],
    [
      "7541 6.1",
      "index 0",
      (c) => c.send(encodeFrame(HEADERS, WHOLE, 1, Buffer.concat([block(fields()), Buffer.from([0x80])]))),
      { connection: COMPRESSION_ERROR },
    ],
    [
      "7541 6.3",
      "a table size beyond SETTINGS",
      (c) =>
        c.send(
          encodeFrame(HEADERS, WHOLE, 1, Buffer.concat([Buffer.from([0x3f, 0xe2, 0x1f]), block(fields())])),
        ),
      { connection: COMPRESSION_ERROR },
    ],

    // What must simply work.
    ...[0, 255].map(
      (weight): Case => [
        "5.3",
        `PRIORITY with weight ${weight + 1} is taken`,
        (c) => c.send(encodeFrame(PRIORITY, 0, 1, priority(0, weight)), headers(1, WHOLE)),
        "answer",
      ],
    ),
    [
      "5.3",
      "PRIORITY that depends on another stream, exclusively, is taken",
      (c) =>
        c.send(
          encodeFrame(PRIORITY, 0, 1, priority(0)),
          encodeFrame(PRIORITY, 0, 3, priority(0x80000001)),
          headers(1, WHOLE),
        ),
      "answer",
    ],
    [
      "5.1.1",
      "PRIORITY on an idle stream does not close those below it",
      (c) => c.send(encodeFrame(PRIORITY, 0, 3, priority(0)), headers(1, WHOLE)),
      "answer",
    ],
    [
      "6.1",
      "several DATA frames are taken",
      (c) =>
        c.send(
          headers(1, OPEN, POST),
          encodeFrame(DATA, 0, 1, Buffer.from("test")),
          encodeFrame(DATA, END, 1, Buffer.from("test")),
        ),
      "answer",
    ],
    [
      "6.5",
      "SETTINGS are taken",
      (c) => c.send(encodeFrame(SETTINGS, 0, 0, settingsPayload([[2, 0]]))),
      "survives",
    ],
    ["6.7", "PING is answered", (c) => c.send(encodeFrame(PING, 0, 0, Buffer.from("h2-edges"))), "survives"],
    [
      "6.9",
      "WINDOW_UPDATE on the connection is taken",
      (c) => c.send(encodeFrame(WINDOW_UPDATE, 0, 0, uint32(1)), headers(1, WHOLE)),
      "answer",
    ],
    [
      "6.10",
      "one CONTINUATION is taken",
      (c) => {
        const whole = block(fields());
        c.send(
          encodeFrame(HEADERS, END, 1, whole.subarray(0, 10)),
          encodeFrame(CONTINUATION, END_HEADERS, 1, whole.subarray(10)),
        );
      },
      "answer",
    ],
    ["8.1", "HEAD is answered", (c) => c.send(headers(1, WHOLE, fields({ ":method": "HEAD" }))), "answer"],
    [
      "8.1",
      "POST with announced trailers is answered",
      (c) =>
        c.send(
          headers(1, OPEN, [...POST, "trailer", "x-test"]),
          encodeFrame(DATA, 0, 1, Buffer.from("test")),
          headers(1, WHOLE, ["x-test", "ok"]),
        ),
      "answer",
    ],
    [
      "8.1",
      "a second HEADERS without END_STREAM",
      (c) => c.send(headers(1, OPEN, POST), headers(1, OPEN, POST)),
      { stream: PROTOCOL_ERROR },
    ],
    [
      "8.1.1",
      "Content-Length above what several DATA bring",
      (c) =>
        c.send(
          headers(1, OPEN, [...POST, "content-length", "9"]),
          encodeFrame(DATA, 0, 1, Buffer.from("test")),
          encodeFrame(DATA, END, 1, Buffer.from("test")),
        ),
      { stream: PROTOCOL_ERROR },
    ],
    // The ways to write a field (RFC 7541 §6): with and without indexing and never indexed, name by index and in full.
    [
      "7541 6.1",
      "an indexed field is taken",
      (c) => c.send(encodeFrame(HEADERS, WHOLE, 1, Buffer.concat([block(fields()), Buffer.from([0xba])]))),
      "answer",
    ],
    ...[0x40, 0x00, 0x10].flatMap((kind) =>
      [false, true].flatMap((huffman): Case[] => {
        const how = `${{ 64: "with indexing", 0: "without indexing", 16: "never indexed" }[kind]}${huffman ? ", by Huffman" : ""}`;
        // user-agent is 58 in the static table: beyond a prefix of 4 bits, within one of 6.
        const byIndex = kind === 0x40 ? [0x40 | 58] : [kind | 0x0f, 58 - 15];
        const named = Buffer.concat([Buffer.from(byIndex), literal(0, ["h2 test"], huffman).subarray(1)]);
        const inFull = literal(kind, ["x-test", "h2 test"], huffman);
        return [
          [
            "7541 6.2",
            `a literal ${how}, name by index, is taken`,
            (c) => c.send(encodeFrame(HEADERS, WHOLE, 1, Buffer.concat([block(fields()), named]))),
            "answer",
          ],
          [
            "7541 6.2",
            `a literal ${how}, name in full, is taken`,
            (c) => c.send(encodeFrame(HEADERS, WHOLE, 1, Buffer.concat([block(fields()), inFull]))),
            "answer",
          ],
        ];
      }),
    ),
    [
      "7541 6.3",
      "a table size update is taken",
      (c) => c.send(encodeFrame(HEADERS, WHOLE, 1, Buffer.concat([Buffer.from([0x20]), block(fields())]))),
      "answer",
    ],
    [
      "7541 4.2",
      "two table size updates are taken",
      (c) =>
        c.send(
          encodeFrame(
            HEADERS,
            WHOLE,
            1,
            Buffer.concat([Buffer.from([0x20, 0x3f, 0xe1, 0x1f]), block(fields())]),
          ),
        ),
      "answer",
    ],
    // Windows, as they hold back an answer's DATA.
    [
      "6.5.3",
      "SETTINGS apply in their order",
      async (c) => {
        c.send(
          encodeFrame(
            SETTINGS,
            0,
            0,
            settingsPayload([
              [4, 100],
              [4, 1],
            ]),
          ),
          headers(1, WHOLE),
        );
        await firstData(c, 1);
      },
      "survives",
    ],
    [
      "6.9.2",
      "INITIAL_WINDOW_SIZE moves the window of a stream that is open",
      async (c) => {
        c.send(windowZero, headers(1, WHOLE));
        await c.next((frame) => frame.type === HEADERS);
        c.send(encodeFrame(SETTINGS, 0, 0, settingsPayload([[4, 1]])));
        await firstData(c, 1);
      },
      "survives",
    ],
    [
      "6.9.2",
      "a window below zero must rise above it first",
      async (c) => {
        c.send(encodeFrame(SETTINGS, 0, 0, settingsPayload([[4, 3]])), headers(1, WHOLE));
        await firstData(c, 3);
        c.send(
          encodeFrame(SETTINGS, 0, 0, settingsPayload([[4, 2]])),
          encodeFrame(WINDOW_UPDATE, 0, 1, uint32(2)),
        );
        await firstData(c, 1);
      },
      "survives",
    ],
  ];
}
