import { expect, test } from "vitest";
import { encodeFields, writeFields } from "../../src/http2/heads.ts";
import { HpackDecoder, HpackWriter } from "../../src/http2/hpack.ts";
import { knownName } from "../../src/http2/known-fields.ts";

function written(headers: readonly string[]): Buffer {
  const writer = new HpackWriter();
  expect(writeFields(writer, [...headers], true)).toBeDefined();
  return writer.take();
}

function decoded(block: Buffer): string[] {
  const fields: string[] = [];
  new HpackDecoder().decode(block, 0, block.length, fields, 1e6, 1e3);
  return fields;
}

test("a field that repeats becomes shorter, and says the same", () => {
  const headers = ["X-Repeated", "application/octet-stream", "x-short", "§"];
  const first = written(headers);
  for (let i = 0; i < 10; i++) expect(decoded(written(headers))).toEqual(decoded(first));
  expect(written(headers).length).toBeLessThan(first.length - 5);
});

test("a value that changes is written as it is, each time", () => {
  for (let i = 0; i < 40; i++) {
    const value = `number-${i >> 3}-${i % 5 === 0 ? "often" : "seldom"}`;
    expect(decoded(written(["x-changes", value, "x-changes", `${value}b`]))).toEqual([
      "x-changes",
      value,
      "x-changes",
      `${value}b`,
    ]);
  }
});

test("a value with control bytes is refused however often it comes", () => {
  for (let i = 0; i < 10; i++)
    expect(writeFields(new HpackWriter(), ["x-broken", "a\r\nb"], true)).toBeUndefined();
});

test("cookies are never kept, and stay marked as not to be indexed", () => {
  const headers = ["Set-Cookie", "session=secret-secret-secret"];
  const first = written(headers);
  for (let i = 0; i < 10; i++) expect(written(headers).equals(first)).toBe(true);
  expect(first[0]! & 0xf0).toBe(0x10);
});

test("a name that is long is written, and not kept", () => {
  const name = `x-${"n".repeat(300)}`;
  expect(knownName(name)).not.toBe(knownName(name));
  expect(knownName("x-short")).toBe(knownName("x-short"));
  for (let i = 0; i < 6; i++) expect(decoded(written([name, "v"]))).toEqual([name, "v"]);
});

test("fields about a connection stay out, under any spelling", () => {
  for (let i = 0; i < 6; i++)
    expect(decoded(written(["Connection", "x", "KEEP-ALIVE", "5", "x-a", "b"]))).toEqual(["x-a", "b"]);
  expect(decoded(encodeFields(["Upgrade", "h2c", "X-T", "v"]))).toEqual(["x-t", "v"]);
});
