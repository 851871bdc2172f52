import fc from "fast-check";
import { expect, test } from "vitest";
import { clientHelloOf } from "../../src/tls/client-hello.ts";
import { clientHello, inRecords } from "../support/raw-hello.ts";

const nameOf = (bytes: Uint8Array): string | undefined => clientHelloOf(bytes)?.serverName;

test("the name is found whole, in pieces and over many records", () => {
  const hello = clientHello(Buffer.from("a.example.com"));
  for (const size of [16_384, 64, 5, 1]) {
    const bytes = inRecords(hello, size);
    expect(nameOf(bytes)).toBe("a.example.com");
    for (let end = 0; end < bytes.length; end++)
      expect(nameOf(bytes.subarray(0, end)), `${size} ${end}`).toBeUndefined();
  }
});

test("a hello without a name, with several, or with an empty one", () => {
  expect(nameOf(inRecords(clientHello(undefined)))).toBe("");
  expect(nameOf(inRecords(clientHello(Buffer.alloc(0))))).toBe("");
  expect(nameOf(inRecords(clientHello([Buffer.from("a"), Buffer.from("b")])))).toBe("a");
});

test("what is no hello is left to TLS, and one without end is not waited for", () => {
  expect(nameOf(Buffer.from("GET / HTTP/1.1\r\n\r\n"))).toBe("");
  expect(nameOf(Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0]))).toBe("");
  expect(nameOf(Buffer.from([22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff]))).toBe("");
});

test("no bytes at all make it throw, and flipped ones neither", () => {
  const good = inRecords(clientHello(Buffer.from("a.example.com")));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
      nameOf(bytes);
    }),
  );
  fc.assert(
    fc.property(fc.nat(good.length - 1), fc.nat(255), (at, value) => {
      const bytes = Buffer.from(good);
      bytes[at] = value;
      nameOf(bytes);
    }),
    { numRuns: 2000 },
  );
});
