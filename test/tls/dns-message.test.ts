import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import {
  CLASS,
  type DnsMessage,
  decodeMessage,
  encodeMessage,
  encodeName,
  TYPE,
} from "../../src/tls/dns-message.ts";
import { addressOf, caaOf, targetOf, textData, textOf } from "../../src/tls/dns-records.ts";

const MESSAGE: DnsMessage = {
  id: 0x1234,
  opcode: 0,
  rcode: 0,
  response: true,
  authoritative: true,
  truncated: false,
  recursionDesired: true,
  questions: [{ name: "a.example.test", type: TYPE.TXT, class: CLASS.IN }],
  answers: [
    {
      name: "a.example.test",
      type: TYPE.CNAME,
      class: CLASS.IN,
      ttl: 60,
      data: encodeName("b.example.test"),
    },
    { name: "b.example.test", type: TYPE.TXT, class: CLASS.IN, ttl: 60, data: textData("hello") },
  ],
  authorities: [{ name: "", type: TYPE.NS, class: CLASS.IN, ttl: 60, data: encodeName("ns.example.test") }],
  additionals: [
    { name: "ns.example.test", type: TYPE.A, class: CLASS.IN, ttl: 1, data: Uint8Array.of(192, 0, 2, 1) },
  ],
};

/** As name servers compress: the owner and the target point into what came before. */
const COMPRESSED = Buffer.concat([
  Buffer.from([0, 1, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 0]),
  Buffer.from("\x03www\x07example\x04test\x00\x00\x05\x00\x01", "latin1"),
  Buffer.from([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 6, 3, 0x41, 0x70, 0x49, 0xc0, 16]),
]);

describe("DNS messages", () => {
  test("read as they were written", () => {
    const { lastRecordAt, ...read } = decodeMessage(encodeMessage(MESSAGE));
    expect(encodeMessage(read)).toEqual(encodeMessage(MESSAGE));
    expect(read).toMatchObject({
      id: 0x1234,
      response: true,
      authoritative: true,
      questions: MESSAGE.questions,
    });
    expect(read.answers.map(({ name, type, ttl }) => [name, type, ttl])).toEqual([
      ["a.example.test", TYPE.CNAME, 60],
      ["b.example.test", TYPE.TXT, 60],
    ]);
    expect(lastRecordAt).toBe(encodeMessage({ ...MESSAGE, additionals: [] }).length);
  });

  test("have names that point backwards, in capitals", () => {
    const { answers } = decodeMessage(COMPRESSED);
    expect(answers[0]?.name).toBe("www.example.test");
    expect(targetOf(answers[0]!)).toBe("api.example.test");
  });

  test("that end anywhere too early are refused", () => {
    for (const whole of [encodeMessage(MESSAGE), COMPRESSED]) {
      for (let end = 0; end < whole.length; end++) {
        expect(() => decodeMessage(whole.subarray(0, end))).toThrow(/not a DNS message/);
      }
    }
  });

  test("whose names point at themselves or forwards are refused", () => {
    for (const target of [12, 14, 200]) {
      const bytes = Buffer.from([0, 1, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, target, 0, 1, 0, 1]);
      expect(() => decodeMessage(bytes)).toThrow(/points forwards/);
    }
  });

  test("made of anything are read or refused, and nothing else", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 120 }),
        fc.nat({ max: 200 }),
        fc.nat({ max: 255 }),
        (bytes, at, value) => {
          const damaged = Uint8Array.from(encodeMessage(MESSAGE));
          damaged[at % damaged.length] = value;
          for (const input of [bytes, damaged]) {
            try {
              for (const record of decodeMessage(input).answers) {
                if (record.type === TYPE.TXT) textOf(record);
                if (record.type === TYPE.CNAME) targetOf(record);
                if (record.type === TYPE.A) addressOf(record);
              }
            } catch (thrown) {
              expect(thrown).toBeInstanceOf(EdgeError);
            }
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
});

describe("records", () => {
  const record = (type: number, data: Uint8Array) => ({ name: "", type, class: CLASS.IN, ttl: 0, data });

  test("hold addresses of both families", () => {
    expect(addressOf(record(TYPE.A, Uint8Array.of(192, 0, 2, 7)))).toBe("192.0.2.7");
    const six = Buffer.from("20010db8000000000000000000000001", "hex");
    expect(addressOf(record(TYPE.AAAA, six))).toBe("2001:db8::1");
  });

  test("hold texts of any length", () => {
    for (const text of ["", "x", "y".repeat(255), "z".repeat(700)]) {
      expect(textOf(record(TYPE.TXT, textData(text)))).toBe(text);
    }
  });

  test("hold what CAs may do", () => {
    const data = Buffer.from("\x80\x05Issueca.example; validationmethods=dns-01", "latin1");
    expect(caaOf(record(TYPE.CAA, data))).toEqual({
      critical: true,
      tag: "issue",
      value: "ca.example; validationmethods=dns-01",
    });
  });
});
