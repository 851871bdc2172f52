/** ClientHellos byte by byte, for names that no TLS library would send. */
import { randomBytes } from "node:crypto";
import { connect } from "node:net";

const u8 = (value: number): Buffer => Buffer.from([value]);
const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
const u24 = (value: number): Buffer => Buffer.from([value >> 16, (value >> 8) & 255, value & 255]);
const block8 = (bytes: Buffer): Buffer => Buffer.concat([u8(bytes.length), bytes]);
const block16 = (bytes: Buffer): Buffer => Buffer.concat([u16(bytes.length), bytes]);
const extension = (type: number, bytes: Buffer): Buffer => Buffer.concat([u16(type), block16(bytes)]);

/** A TLS 1.2 ClientHello; without a name where it is undefined, with several where it is a list. */
export function clientHello(name: Buffer | readonly Buffer[] | undefined): Buffer {
  const names = name === undefined ? [] : Buffer.isBuffer(name) ? [name] : name;
  const serverName = Buffer.concat((names as Buffer[]).map((each) => Buffer.concat([u8(0), block16(each)])));
  const extensions = Buffer.concat([
    ...(name === undefined ? [] : [extension(0, block16(serverName))]),
    extension(10, block16(Buffer.concat([u16(29), u16(23)]))),
    extension(11, block8(u8(0))),
    extension(13, block16(Buffer.concat([0x0403, 0x0804, 0x0401, 0x0503].map(u16)))),
    extension(23, Buffer.alloc(0)),
    extension(0xff01, u8(0)),
  ]);
  const body = Buffer.concat([
    u16(0x0303),
    randomBytes(32),
    block8(Buffer.alloc(0)),
    block16(Buffer.concat([0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8].map(u16))),
    block8(u8(0)),
    block16(extensions),
  ]);
  return Buffer.concat([u8(1), u24(body.length), body]);
}

/** The message in records of at most `size` bytes. */
export function inRecords(message: Buffer, size = 16_384): Buffer {
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const part = message.subarray(at, at + size);
    records.push(Buffer.concat([u8(22), u16(0x0301), block16(part)]));
  }
  return Buffer.concat(records);
}

/**
 * What the server says first: "hello" with a host's certificate, "placeholder", "alert 112" with its number, "closed", or
 * "silent" where it says nothing for so long.
 */
export function firstAnswer(
  port: number,
  bytes: Buffer,
  chunk: number = bytes.length,
  boundMs = 5000,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true });
    const bound = setTimeout(() => finish("silent"), boundMs);
    let seen = Buffer.alloc(0);
    const finish = (answer: string): void => {
      clearTimeout(bound);
      socket.destroy();
      resolve(answer);
    };
    socket.on("connect", () => {
      const send = (at: number): void => {
        if (at >= bytes.length || socket.destroyed) return;
        socket.write(bytes.subarray(at, at + chunk), () => setImmediate(send, at + chunk));
      };
      send(0);
    });
    socket.on("data", (data: Buffer) => {
      seen = Buffer.concat([seen, data]);
      // TLS 1.2 shows certificates in the clear.
      if (seen[0] === 22 && seen.includes("placeholder.invalid")) finish("placeholder");
      else if (seen[0] === 22 && seen.includes("example.test")) finish("hello");
      else if (seen[0] === 21 && seen.length >= 7) finish(`alert ${seen[6]}`);
    });
    socket.on("error", () => finish("closed"));
    socket.on("close", () => finish("closed"));
    if (bytes.length === 0) reject(new Error("nothing to send"));
  });
}
