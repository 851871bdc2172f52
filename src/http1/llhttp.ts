/**
 * llhttp, the parser inside Node, in its WebAssembly build from undici: strict, no lenient flag is ever set.
 * One instance and one scratch buffer serve the whole process; a {@link Parser} is only a state of some 100 bytes in it.
 *
 * Callbacks record offsets, never strings. They call nothing of ours that could come back here, so plain module
 * variables suffice for the parser at work.
 */
import { createRequire } from "node:module";

// By file, not by package: Bun has a built-in module of the name `undici` without these files.
const binary = createRequire(import.meta.url)(
  "undici/lib/llhttp/llhttp_simd-wasm.js",
) as Uint8Array<ArrayBuffer>;

interface Exports {
  readonly memory: WebAssembly.Memory;
  malloc(size: number): number;
  llhttp_alloc(type: number): number;
  llhttp_reset(parser: number): void;
  llhttp_execute(parser: number, at: number, length: number): number;
  llhttp_get_error_pos(parser: number): number;
  llhttp_get_error_reason(parser: number): number;
}

export const REQUEST = 1;
export const RESPONSE = 2;

/** What `execute` returns (llhttp's error numbers, the ones told apart here). */
export const OK = 0;
export const INVALID_METHOD = 6;
export const INVALID_VERSION = 9;
export const PAUSED = 21;
export const PAUSED_H2 = 23;

const SCRATCH_BYTES = 65_536;

const URL = 1;
const STATUS = 2;
const FIELD = 3;
const VALUE = 4;
const BODY = 5;

/** One llhttp state and what its callbacks noted. Offsets count from the first byte fed since the last `reset`. */
export class Parser {
  readonly pointer: number;
  /** Stop after the head; else run through the (chunked) body to the message's end. */
  readonly headOnly: boolean;
  /** [name start, name end, value start, value end] per field. */
  readonly fields: number[] = [];
  /** [start, end] per piece of body, in offsets of the chunk given last. */
  readonly pieces: number[] = [];
  /** The request target, or the reason phrase. */
  lineStart = 0;
  lineEnd = 0;
  status = 0;
  complete = false;
  /** Offset in the chunk given last after what was consumed. */
  next = 0;
  /** Bytes fed before the slice in the scratch buffer. */
  base = 0;
  last = 0;

  constructor(type: number, headOnly: boolean) {
    this.pointer = wasm.llhttp_alloc(type);
    this.headOnly = headOnly;
  }

  reset(): void {
    wasm.llhttp_reset(this.pointer);
    this.fields.length = 0;
    this.pieces.length = 0;
    this.lineStart = this.lineEnd = this.status = this.base = this.last = 0;
    this.complete = false;
  }

  /**
   * Feeds `chunk[start, end)`. Returns OK (all consumed), PAUSED (head or message complete; `next` says where) or an error.
   */
  execute(chunk: Buffer, start: number, end: number): number {
    this.pieces.length = 0;
    let at = start;
    while (at < end) {
      const n = Math.min(SCRATCH_BYTES, end - at);
      if (heap.buffer !== wasm.memory.buffer) heap = Buffer.from(wasm.memory.buffer);
      chunk.copy(heap, scratch, at, at + n);
      active = this;
      shift = this.base - scratch;
      sliceStart = at - scratch;
      const result = wasm.llhttp_execute(this.pointer, scratch, n);
      if (result !== OK) {
        this.next = at + wasm.llhttp_get_error_pos(this.pointer) - scratch;
        return result;
      }
      this.base += n;
      at += n;
    }
    this.next = end;
    return OK;
  }

  /** Why `execute` failed, in llhttp's words. */
  reason(): string {
    const at = wasm.llhttp_get_error_reason(this.pointer);
    if (at === 0) return "malformed";
    const bytes = Buffer.from(wasm.memory.buffer);
    return bytes.toString("latin1", at, bytes.indexOf(0, at));
  }
}

let active: Parser;
let shift = 0;
let sliceStart = 0;

const wasm = new WebAssembly.Instance(new WebAssembly.Module(binary), {
  env: {
    wasm_on_message_begin: () => 0,
    wasm_on_url: onLine(URL),
    wasm_on_status: onLine(STATUS),
    wasm_on_header_field(_parser: number, at: number, length: number): number {
      const { fields } = active;
      const start = at + shift;
      // A name cut by the end of a chunk continues where it ended.
      if (active.last === FIELD && fields[fields.length - 3] === start)
        fields[fields.length - 3] = start + length;
      else fields.push(start, start + length, 0, 0);
      active.last = FIELD;
      return 0;
    },
    wasm_on_header_value(_parser: number, at: number, length: number): number {
      const { fields } = active;
      const start = at + shift;
      if (active.last !== VALUE) fields[fields.length - 2] = start;
      fields[fields.length - 1] = start + length;
      active.last = VALUE;
      return 0;
    },
    wasm_on_headers_complete(_parser: number, status: number): number {
      active.status = status;
      if (!active.headOnly) return 0;
      active.complete = true;
      return PAUSED;
    },
    wasm_on_body(_parser: number, at: number, length: number): number {
      const { pieces } = active;
      const start = at + sliceStart;
      // A piece cut by the end of the scratch buffer is one piece of the caller's chunk all the same.
      if (active.last === BODY && pieces[pieces.length - 1] === start)
        pieces[pieces.length - 1] = start + length;
      else pieces.push(start, start + length);
      active.last = BODY;
      return 0;
    },
    wasm_on_message_complete(): number {
      active.complete = true;
      return PAUSED;
    },
  },
}).exports as unknown as Exports;

function onLine(kind: number): (parser: number, at: number, length: number) => number {
  return (_parser, at, length) => {
    const start = at + shift;
    if (active.last !== kind) active.lineStart = start;
    active.lineEnd = start + length;
    active.last = kind;
    return 0;
  };
}

const scratch = wasm.malloc(SCRATCH_BYTES);
let heap = Buffer.from(wasm.memory.buffer);

const spare: Parser[][] = [[], [], []];

/** A reset parser: 0 for chunked bodies, {@link REQUEST} or {@link RESPONSE} for heads. Give it back with {@link release}. */
export function acquire(kind: 0 | 1 | 2): Parser {
  const parser = spare[kind]!.pop() ?? new Parser(kind === 0 ? REQUEST : kind, kind !== 0);
  parser.reset();
  if (kind === 0) {
    // Brings the parser to the first chunk's size line: where a message's head was not parsed again, its body still is.
    parser.execute(CHUNKED_HEAD, 0, CHUNKED_HEAD.length);
    parser.fields.length = 0;
    parser.base = 0;
  }
  return parser;
}

/** Puts a parser back. The caller MUST NOT touch it again. */
export function release(parser: Parser, kind: 0 | 1 | 2): void {
  if (spare[kind]!.length < 64) spare[kind]!.push(parser);
  else (wasm as unknown as { llhttp_free(pointer: number): void }).llhttp_free(parser.pointer);
}

const CHUNKED_HEAD = Buffer.from("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", "latin1");
