/**
 * The server name and the protocols in a ClientHello (RFC 8446 §4.1.2, RFC 6066 §3, RFC 7301), read before TLS starts and
 * without trusting a byte of it.
 */

/** A hello may grow with post-quantum shares and tickets, but not beyond one record's worth of memory. */
export const MAX_HELLO_BYTES: number = 16_384 + 5;

const HANDSHAKE_RECORD = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const PROTOCOLS = 16;
const HOST_NAME = 0;

export interface ClientHello {
  /** As it was sent; "" where there is none. */
  readonly serverName: string;
  /** ALPN, in the client's order. */
  readonly protocols: readonly string[];
}

const NOTHING: ClientHello = { serverName: "", protocols: [] };

/**
 * What a client that sent `bytes` so far asks for, {@link NOTHING} where this is no ClientHello (TLS itself then says so),
 * or undefined while more bytes are needed.
 */
export function clientHelloOf(bytes: Uint8Array): ClientHello | undefined {
  const hello = joinRecords(bytes);
  if (hello === undefined) return bytes.length >= MAX_HELLO_BYTES ? NOTHING : undefined;
  try {
    return read(new Reader(hello));
  } catch {
    // Lengths that contradict each other: TLS refuses it with the alert that it has for that.
    return NOTHING;
  }
}

/** The server name alone, as {@link clientHelloOf} finds it. */
export function serverNameOf(bytes: Uint8Array): string | undefined {
  return clientHelloOf(bytes)?.serverName;
}

/** The handshake message, which may be spread over records; undefined while it is not whole, empty for anything else. */
function joinRecords(bytes: Uint8Array): Uint8Array | undefined {
  const parts: Uint8Array[] = [];
  let wanted = 4;
  let have = 0;
  for (let at = 0; have < wanted; ) {
    if (bytes.length > at && bytes[at] !== HANDSHAKE_RECORD) return new Uint8Array();
    if (bytes.length < at + 5) return undefined;
    const length = (bytes[at + 3]! << 8) | bytes[at + 4]!;
    if (length === 0 || length > 16_384) return new Uint8Array();
    const part = bytes.subarray(at + 5, at + 5 + length);
    parts.push(part);
    have += part.length;
    at += 5 + length;
    if (have >= 4 && wanted === 4) {
      const [type, a, b, c] = Buffer.concat(parts);
      if (type !== CLIENT_HELLO) return new Uint8Array();
      wanted = 4 + ((a! << 16) | (b! << 8) | c!);
      if (wanted > MAX_HELLO_BYTES) return new Uint8Array();
    }
    if (part.length < length && have < wanted) return undefined;
  }
  return Buffer.concat(parts).subarray(4, wanted);
}

function read(hello: Reader): ClientHello {
  if (hello.left === 0) return NOTHING;
  hello.skip(2 + 32); // version, random
  hello.block(1); // session id
  hello.block(2); // cipher suites
  hello.block(1); // compression methods
  if (hello.left === 0) return NOTHING;
  let { serverName } = NOTHING;
  const protocols: string[] = [];
  const extensions = hello.block(2);
  while (extensions.left > 0) {
    const type = extensions.number(2);
    const extension = extensions.block(2);
    if (type === SERVER_NAME) serverName = nameIn(extension.block(2));
    if (type !== PROTOCOLS) continue;
    const list = extension.block(2);
    while (list.left > 0) protocols.push(list.block(1).text());
  }
  return { serverName, protocols };
}

function nameIn(names: Reader): string {
  while (names.left > 0) {
    const kind = names.number(1);
    const name = names.block(2);
    if (kind === HOST_NAME) return name.text();
  }
  return "";
}

/** Reads big-endian numbers and length-prefixed blocks; throws a RangeError beyond the end. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  skip(count: number): void {
    if (count > this.left) throw new RangeError("beyond the end");
    this.#at += count;
  }

  number(size: number): number {
    const from = this.#at;
    this.skip(size);
    let value = 0;
    for (let i = from; i < this.#at; i++) value = value * 256 + this.#bytes[i]!;
    return value;
  }

  block(lengthSize: number): Reader {
    const length = this.number(lengthSize);
    const from = this.#at;
    this.skip(length);
    return new Reader(this.#bytes.subarray(from, this.#at));
  }

  text(): string {
    return Buffer.from(this.#bytes).toString("latin1");
  }
}
