/** Which runtime this is, and every quirk that Skerry works around, each with the version seen and the issue. */
import { Buffer } from "node:buffer";
import { Socket } from "node:net";
import v8 from "node:v8";
import vm from "node:vm";

declare const Bun: { version: string } | undefined;
declare const Deno: { version: { deno: string } } | undefined;

export type RuntimeName = "node" | "bun" | "deno";

export const runtimeName: RuntimeName =
  typeof Deno !== "undefined" ? "deno" : typeof Bun !== "undefined" ? "bun" : "node";

export const runtimeVersion: string =
  typeof Deno !== "undefined"
    ? Deno.version.deno
    : typeof Bun !== "undefined"
      ? Bun.version
      : process.versions.node;

interface PausableSocket {
  pause(): unknown;
  resume(): unknown;
}

/**
 * Makes `pause()` of a TLS socket stop the connection below it too.
 *
 * Deno 2.9.6 keeps what arrives while a TLS socket is paused in memory without bound (since denoland/deno#33524 nothing
 * of it is lost), so any uploader could fill the machine. Its handle's `_parent` is the TCP handle.
 */
export function boundReading(socket: PausableSocket): void {
  if (runtimeName !== "deno") return;
  if (typeof below(socket)?.readStop !== "function") return;
  socket.pause = pauseBoth;
  socket.resume = resumeBoth;
}

interface Below {
  readStop?(): void;
  readStart?(): void;
}

function below(socket: unknown): Below | undefined {
  return (socket as { _handle?: { _parent?: Below } })._handle?._parent;
}

function pauseBoth(this: PausableSocket): unknown {
  below(this)?.readStop?.();
  return Socket.prototype.pause.call(this);
}

function resumeBoth(this: PausableSocket): unknown {
  below(this)?.readStart?.();
  return Socket.prototype.resume.call(this);
}

interface ReadableInside {
  _readableState?: { readingMore?: unknown };
}

/**
 * Spares a connected socket what its runtime does again with each chunk, and for nothing: Node 26.10 and Deno 2.9.5 look in
 * the next tick whether to read more, though a socket reads until it is told to stop; and Node renews the timer of a
 * handshake that is over. A runtime without these inner fields is left as it is.
 */
export function spare(socket: object): void {
  if (runtimeName === "bun") return;
  const state = (socket as ReadableInside)._readableState;
  if (state?.readingMore === false) state.readingMore = true;
  if (runtimeName === "node") forgetTimer(socket as Record<symbol, unknown>);
}

let timerKey: symbol | undefined;

function forgetTimer(socket: Record<symbol, unknown>): void {
  timerKey ??= Object.getOwnPropertySymbols(socket).find(({ description }) => description === "timeout");
  if (timerKey !== undefined && timerKey in socket) socket[timerKey] = null;
}

/**
 * Whether a client may offer the session of an earlier connection. Deno 2.9.6 keeps sessions of its own, by server name and
 * for the whole process, and offers one of those instead (denoland/deno#36592): one that was made without verification
 * could stand in for a verified one.
 */
export const offersOwnSessions: boolean = runtimeName !== "deno";

/**
 * Whether a request on a kept connection of `node:http` that the server closes without an answer is sent again by the
 * runtime, unseen, whatever its method. Deno 2.9.6 does; what must not be done twice takes a new connection there.
 */
export const repeatsRequests: boolean = runtimeName === "deno";

/**
 * What `node:dns` says where a name has no such records. Bun 1.4.5 says ENOTFOUND for ENODATA; Deno 2.9.6 too, and also
 * where the server failed or refused (denoland/deno#36561).
 */
export const DNS_NOTHING: readonly string[] = ["ENODATA", "ENOTFOUND"];

/**
 * Whether a TCP client's `onread` option saves the buffer that a read else takes: Node 26.10 and Deno 2.9.5 take 64 KiB each time.
 * Bun 1.4.5 reads into one of its own already, and emulates the option by a copy.
 */
export const readsIntoGivenBuffers: boolean = runtimeName !== "bun";

/**
 * Whether an answer's parts are joined in memory of ours, and written from it. Deno 2.9.5 takes zeroed memory anew for each read of
 * a socket that brings much, copies the parts of a write twice, and encrypts 48 KiB of a write at a time.
 */
export const joinsWrites: boolean = runtimeName === "deno";

/** Whether a stream holds nothing of what was joined and written once it has drained: a promise of sockets alone. */
export function lendsWrites(stream: object): boolean {
  return joinsWrites && stream instanceof Socket;
}

/** A web stream that nobody reads takes Deno 2.9.5 a µs to make, and Bun 1.4.5 most of one; Node 26.10 a quarter. */
export const slowToMakeStreams: boolean = runtimeName !== "node";

/** Deno 2.9.5 takes small buffers from slabs of 8 KiB, which a few answers fill; Node 26 takes them from such of 64. */
export function widenBufferPool(): void {
  if (runtimeName === "deno") Buffer.poolSize = 65_536;
}

/**
 * Keeps compiled code through quiet minutes.
 *
 * V8 takes eight quiet seconds for the end of the work, and gives back memory (some 60 MB after full load), together with the
 * shapes of objects that nobody holds then, and with them the code that was compiled for those. The next visitors wait until
 * it is compiled again: their second costs half as much CPU again, and its p99 is 30 ms instead of 5. An edge gives back
 * after ten quiet minutes. Deno 2.9.5 takes no such flag from a program (denoland/deno#19271), but from its command line.
 */
export function keepCompiledCode(): void {
  if (runtimeName === "node") v8.setFlagsFromString("--memory-reducer-delay-ms=600000");
}

/** Deno 2.9.5 leaves V8 for `performance.now()`, which takes 0.13 µs; Node and Bun take a third of that or less. */
export const slowToReadTime: boolean = runtimeName === "deno";

interface AlpnOptions {
  ALPNProtocols?: string[];
  ALPNCallback?: (offer: { protocols: string[] }) => string | undefined;
}

/**
 * What a TLS server speaks, what it likes best first. Node 26.10 copies a list for each connection into memory that others share,
 * which then lives as long as the connection: 6 KiB of it.
 */
export function alpnOptions(protocols: readonly string[]): AlpnOptions {
  if (runtimeName !== "node") return { ALPNProtocols: [...protocols] };
  return { ALPNCallback: (offer) => protocols.find((protocol) => offer.protocols.includes(protocol)) };
}

/** Deno 2.9.5 makes a configuration of TLS for each connection of a server that has an `SNICallback`: 13 KiB of memory. */
export const configuresEveryHandshake: boolean = runtimeName === "deno";

/** Less than the first buffer that Node 26.10 makes for what a TLS connection receives. */
const PIECE_BYTES = 1_000;

/**
 * Puts back what was read of a connection before TLS gets it.
 *
 * Node 26.10 takes that as one piece, makes a buffer of just its size or of 1 KiB, whichever is more, and once a buffer is full
 * another of 16 KiB beside it; both last as long as the connection. A ClientHello with a post-quantum key is longer than 1 KiB.
 * In smaller pieces, each of which is taken out again at once, it fills none: 9 KiB of memory less.
 */
export function giveBack(socket: Socket, bytes: Buffer): void {
  socket.unshift(bytes);
  if (runtimeName !== "node" || bytes.length <= PIECE_BYTES) return;
  const { read } = socket;
  let rest: Buffer | null = null;
  // The TLS socket reads until there is no more; by then it may have failed, and nobody is there to take the rest.
  socket.read = (size?: number): Buffer | null => {
    if (size !== undefined) return read.call(socket, size) as Buffer | null;
    rest ??= read.call(socket) as Buffer | null;
    const piece = socket.destroyed ? null : (rest?.subarray(0, PIECE_BYTES) ?? null);
    rest = piece !== null && rest !== null && rest.length > PIECE_BYTES ? rest.subarray(PIECE_BYTES) : null;
    if (rest === null) socket.read = read;
    return piece;
  };
}

/** Bytes received between two young collections. Each takes some 0.2 ms. */
const COLLECT_EVERY_BYTES = 8_388_608;

let received = 0;
let chunks = 0;
let collector: (() => void) | undefined;

/**
 * To be told of every chunk that a socket gives.
 *
 * Node 26.10 reads into a new buffer each time, and V8 meets their growth with collections of the whole heap: 28 in a
 * download of 600 MiB, more than a third of its CPU time. The buffers are dead by then and young, so a young collection
 * now and then frees them for next to nothing: 3.3 ms of CPU per MiB became 1.7. V8 has no API for it but the `gc` that
 * a flag brings; it is taken from a context of its own, so that no global appears. Bun's and Deno's buffers do not suffer.
 *
 * Once the whole heap was collected, V8 lets it grow by so little that a few megabytes of buffers, which it counts too, call for
 * the next collection, and the one that was asked for becomes that: 31 in 80 uploads of 1 MiB each, three times the CPU
 * time, in some processes and not in others. So the heap may double first.
 */
export function countReceived(bytes: number): void {
  chunks = (chunks + 1) | 0;
  received += bytes;
  if (received < COLLECT_EVERY_BYTES) return;
  received = 0;
  if (runtimeName === "node") collectGarbage();
}

/** Young garbage, on Deno all of it. */
function collectGarbage(): void {
  collector ??= makeCollector();
  collector();
}

function makeCollector(): () => void {
  v8.setFlagsFromString("--expose-gc");
  const gc: unknown = vm.runInNewContext("globalThis.gc");
  v8.setFlagsFromString("--no-expose-gc");
  v8.setFlagsFromString("--heap-growing-percent=100");
  return typeof gc === "function" ? () => gc({ type: "minor" }) : () => {};
}

/** A collection on Deno stops everything for some 2 ms per MiB in use. */
const MAX_COLLECTED_BYTES = 100 * 1_048_576;
/** What is made in too little space takes many collections. */
const ENOUGH_YOUNG_BYTES = 24 * 1_048_576;

let youngGrows = true;

/** The memory of JavaScript, as far as a runtime lets itself be told. */
export interface Heap {
  /** Chunks that came on any connection since the start. */
  chunks(): number;
  /** How many collections, half a second apart, give back what a burst of connections left; 0 where none is needed. */
  readonly collections: number;
  /** Collects garbage, to be called while next to nothing is to be done. */
  collect(): void;
  /** Whether what new objects are made in may grow. */
  mayGrow(may: boolean): void;
}

export const heap: Heap = {
  chunks: () => chunks,

  collections: { node: 3, bun: 0, deno: 1 }[runtimeName],

  /**
   * V8 makes new objects in a space that grows to 52 MiB, and leaves it at that while nothing happens. In Node 26.10 young
   * collections shrink it once little is made between them, and what they free is the system's again 8 s later. In Deno
   * 2.9.5 only a collection of everything does, which is all that its `gc` can do; it frees at once, and costs compiled code
   * as {@link keepCompiledCode} says.
   */
  collect() {
    if (runtimeName === "deno" && process.memoryUsage().heapUsed > MAX_COLLECTED_BYTES) return;
    if (runtimeName !== "bun") collectGarbage();
  },

  /** Beyond 24 MiB. Deno 2.9.5 takes no flags of V8 after its start. */
  mayGrow(may) {
    if (runtimeName !== "node" || may === youngGrows) return;
    const young = v8.getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space");
    if (!may && (young?.space_size ?? 0) < ENOUGH_YOUNG_BYTES) return;
    youngGrows = may;
    v8.setFlagsFromString(`--semi-space-growth-factor=${may ? 2 : 1}`);
  },
};

/**
 * A certificate's serial number as whole bytes in lower case, as openssl prints it. Deno 2.9.6 leaves out the first digit
 * where it is a zero, as it is in one of sixteen (ext/node_crypto formats a number, not its bytes; no issue is known).
 */
export function serialOf(certificate: { readonly serialNumber: string }): string {
  const digits = certificate.serialNumber.toLowerCase();
  return digits.length % 2 === 0 ? digits : `0${digits}`;
}
