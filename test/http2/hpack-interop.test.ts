import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { HpackDecoder, HpackWriter } from "../../src/http2/hpack.ts";

/** The system's own, for which Debian packages hpack. */
const child = spawn("/usr/bin/python3", [fileURLToPath(new URL("./hpack-peer.py", import.meta.url))], {
  stdio: ["pipe", "pipe", "inherit"],
});
const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
afterAll(() => void child.kill());

async function ask(question: object): Promise<{ block?: string; fields?: [string, string][] }> {
  child.stdin.write(`${JSON.stringify(question)}\n`);
  const { value } = await lines.next();
  return JSON.parse(String(value)) as { block?: string; fields?: [string, string][] };
}

const name = fc.oneof(
  fc.constantFrom(
    ":path",
    ":status",
    "cookie",
    "set-cookie",
    "x-id",
    "content-type",
    "accept-language",
    "te",
  ),
  fc.stringMatching(/^[a-z][a-z0-9-]{0,30}$/),
);
const value = fc.oneof(
  fc.constantFrom("", "gzip, deflate", "200", "text/html", "/"),
  fc.stringMatching(/^[!-~\u00a0-\u00ff]([ -~\u00a0-\u00ff]{0,200}[!-~\u00a0-\u00ff])?$/),
);
const list = fc.array(fc.tuple(name, value), { maxLength: 20 });

test("what python3-hpack encodes, with its dynamic table and Huffman or without, decodes to the same", async () => {
  const decoder = new HpackDecoder();
  await fc.assert(
    fc.asyncProperty(list, fc.boolean(), async (fields, huffman) => {
      const { block } = await ask({ encode: fields, huffman });
      const bytes = Buffer.from(block!, "hex");
      const got: string[] = [];
      decoder.decode(bytes, 0, bytes.length, got, 1e6, 1e4);
      expect(got).toEqual(fields.flat());
    }),
    { numRuns: 1000 },
  );
});

test("what we encode, python3-hpack decodes to the same", async () => {
  const writer = new HpackWriter();
  await fc.assert(
    fc.asyncProperty(list, async (fields) => {
      for (const [key, text] of fields) expect(writer.field(key, text)).toBe(true);
      const { fields: got } = await ask({ decode: writer.take().toString("hex") });
      expect(got).toEqual(fields);
    }),
    { numRuns: 1000 },
  );
});
