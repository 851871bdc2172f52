import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { responseHead } from "../../src/exchange/exchange.ts";
import { type Messages, parseRequests, parseResponses } from "../../src/http1/messages.ts";
import { requestText, responseText } from "../../src/http1/serialise.ts";
import { REFUSED, REQUESTS, RESPONSES } from "./fixtures.ts";
import { request } from "./wire.ts";

const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

/** What must not depend on how the bytes were cut. */
function facts<P>(result: Messages<P>): unknown {
  return JSON.parse(JSON.stringify(result));
}

function everySplit(text: string): Buffer[][] {
  const all = bytes(text);
  const splits: Buffer[][] = [];
  for (let at = 1; at < all.length; at++) splits.push([all.subarray(0, at), all.subarray(at)]);
  splits.push(Array.from(all, (_byte, at) => all.subarray(at, at + 1)));
  return splits;
}

describe("requests", () => {
  for (const [name, text] of Object.entries(REQUESTS))
    test(`${name}: parsed alike wherever it is split`, () => {
      const whole = facts(parseRequests([bytes(text)]));
      expect((whole as { refusal?: unknown }).refusal).toBeUndefined();
      for (const chunks of everySplit(text)) expect(facts(parseRequests(chunks))).toEqual(whole);
    });

  for (const [name, [status, text]] of Object.entries(REFUSED))
    test(`${name}: ${status}, wherever it is split`, () => {
      expect(parseRequests([bytes(text)]).refusal?.status).toBe(status);
      for (const chunks of everySplit(text))
        expect(parseRequests(chunks).refusal?.status, JSON.stringify(chunks.map(String))).toBe(status);
    });

  test("equal heads on one connection are one object, and a changed byte makes another", () => {
    const text = "GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n";
    const { messages } = parseRequests([bytes(text), bytes(text + text), bytes(text.replace("/a", "/b"))]);
    expect(messages).toHaveLength(4);
    expect(messages[1]!.parsed.head).toBe(messages[0]!.parsed.head);
    expect(messages[2]!.parsed.head).toBe(messages[0]!.parsed.head);
    expect(messages[3]!.parsed.head.path).toBe("/b");
  });

  test("a repeated head with a body keeps its framing", () => {
    const post = "POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\n";
    const chunked = "POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    const { messages, refusal } = parseRequests([
      bytes(`${post}abc${post}def${chunked}1\r\nx\r\n0\r\n\r\n${chunked}2\r\nyz\r\n0\r\nA: b\r\n\r\n`),
    ]);
    expect(refusal).toBeUndefined();
    expect(messages.map((message) => message.body)).toEqual(["abc", "def", "x", "yz"]);
    expect(messages[3]!.trailers).toEqual(["A", "b"]);
    expect(messages[3]!.parsed).toBe(messages[2]!.parsed);
  });

  test("an absolute target's authority replaces Host", () => {
    const { head } = parseRequests([bytes("GET http://b.test:81?q HTTP/1.1\r\nHost: a.test\r\n\r\n")])
      .messages[0]!.parsed;
    expect(head).toMatchObject({ authority: "b.test:81", path: "/?q" });
  });

  test("trailers cannot bring fields that frame or route", () => {
    const { messages } = parseRequests([
      bytes(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nHost: b\r\nCookie: 3\r\nGrpc-Status: 0\r\n\r\n",
      ),
    ]);
    expect(messages[0]!.trailers).toEqual(["Grpc-Status", "0"]);
  });

  test("a head of maxHeadBytes passes, one byte more does not", () => {
    const head = (size: number): string => {
      const start = "GET / HTTP/1.1\r\nHost: a\r\nA: ";
      return `${start}${"x".repeat(size - start.length - 4)}\r\n\r\n`;
    };
    const limits = { maxHeadBytes: 200, maxHeaders: 10 };
    expect(parseRequests([bytes(head(200))], limits).messages).toHaveLength(1);
    expect(parseRequests([bytes(head(201))], limits).refusal?.status).toBe(431);
    for (const chunks of everySplit(head(201)))
      expect(parseRequests(chunks, limits).refusal?.status).toBe(431);
    const long = `GET /${"a".repeat(300)} HTTP/1.1\r\nHost: a\r\n\r\n`;
    for (const chunks of [[bytes(long)], ...everySplit(long)])
      expect(parseRequests(chunks, limits).refusal?.status).toBe(414);
  });

  test("more fields than maxHeaders are refused", () => {
    const limits = { maxHeadBytes: 2000, maxHeaders: 3 };
    const text = (n: number): string => `GET / HTTP/1.1\r\nHost: a\r\n${"A: b\r\n".repeat(n - 1)}\r\n`;
    expect(parseRequests([bytes(text(3))], limits).messages).toHaveLength(1);
    expect(parseRequests([bytes(text(4))], limits).refusal?.status).toBe(431);
  });

  test("chunk framing without content is bounded", () => {
    const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    const { refusal } = parseRequests([bytes(`${head}1;`), bytes("a".repeat(9000)), bytes("a".repeat(9000))]);
    expect(refusal?.status).toBe(400);
  });

  test("bodies larger than the scratch buffer come through", () => {
    const body = Buffer.alloc(200_000, "abcdefg").toString("latin1");
    const head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    const chunked = `${head}${body.length.toString(16)}\r\n${body}\r\n3\r\nxyz\r\n0\r\n\r\n`;
    const { messages } = parseRequests([bytes(chunked)]);
    expect(messages[0]!.body === `${body}xyz`).toBe(true);
  });
});

describe("responses", () => {
  for (const [name, text] of Object.entries(RESPONSES))
    test(`${name}: parsed alike wherever it is split`, () => {
      const whole = facts(parseResponses([bytes(text)]));
      expect((whole as { refusal?: unknown }).refusal).toBeUndefined();
      for (const chunks of everySplit(text)) expect(facts(parseResponses(chunks))).toEqual(whole);
    });

  for (const text of [
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\nA: b\n\n",
    "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/1.1 99 OK\r\n\r\n",
    "SSH-2.0-x\r\n",
  ])
    test(`refused: ${JSON.stringify(text)}`, () => {
      for (const chunks of [[bytes(text)], ...everySplit(text)])
        expect(parseResponses(chunks).refusal).toBeDefined();
    });
});

const token = fc.stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}$/);
const value = fc
  .stringMatching(/^[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]{0,30}[\x21-\x7e\x80-\xff])?$/)
  .map((text) => Buffer.from(text, "latin1").toString("latin1"));
const reserved = /^(host|connection|keep-alive|content-length|transfer-encoding|upgrade|expect|date)$/i;
const headers = fc
  .array(
    fc.tuple(
      token.filter((name) => !reserved.test(name)),
      fc.oneof(value, fc.constant("")),
    ),
    { maxLength: 20 },
  )
  .map((fields) => fields.flat());

describe("parse(serialise(x)) = x", () => {
  test("for requests", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("GET", "POST", "DELETE", "PUT", "OPTIONS", "PATCH", "QUERY"),
        fc.stringMatching(/^\/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]{0,40}$/),
        headers,
        (method, path, list) => {
          const text = requestText(request({ method, path, headers: list }));
          const { messages, refusal } = parseRequests([bytes(text)]);
          expect(refusal).toBeUndefined();
          const { head } = messages[0]!.parsed;
          expect(head).toMatchObject({ method, path, authority: "a.test" });
          expect(head.headers.slice(2, 2 + list.length)).toEqual(list);
        },
      ),
    );
  });

  test("for responses", () => {
    fc.assert(
      fc.property(fc.integer({ min: 200, max: 599 }), headers, (status, list) => {
        const head = responseHead(status, list);
        const text = `${responseText(head).lines}\r\n`;
        // What is sent again is the same, in bytes.
        expect(Buffer.from(responseText(head).whole ?? "").toString("latin1")).toBe(text);
        const { messages, refusal } = parseResponses([bytes(text)]);
        expect(refusal).toBeUndefined();
        expect(messages[0]!.parsed.head).toMatchObject({ status, headers: list });
      }),
    );
  });
});
