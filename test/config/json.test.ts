import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { JsonSyntaxError, parseJson } from "../../src/config/json.ts";

function failure(text: string): string {
  try {
    parseJson(text);
  } catch (error) {
    expect(error).toBeInstanceOf(JsonSyntaxError);
    const { line, column, message } = error as JsonSyntaxError;
    return `${line}:${column} ${message}`;
  }
  return "none";
}

describe("JSON", () => {
  test.each([
    ["", "1:1 unexpected end of the file, expected a value"],
    ["{ broken", '1:3 unexpected "b", expected a name in double quotes'],
    ['{\n  "a": 1,\n  "b": }', '3:8 unexpected "}", expected a value'],
    ['{\n  "a": 1,\n}', '2:9 a "," before the end'],
    ['{ "a": 1 "b": 2 }', '1:10 unexpected "\\"", expected "," or "}"'],
    ['{ "a" 1 }', '1:7 unexpected "1", expected ":"'],
    ["[1, 2", '1:6 unexpected end of the file, expected "," or "]"'],
    ["// hello\n{}", '1:1 unexpected "/", expected a value (JSON knows no comments)'],
    ['{ "a": "b\n" }', "1:8 unfinished or malformed string"],
    ['{ "a": 01 }', '1:8 unexpected "0", expected a value'],
    ["{} {}", '1:4 unexpected "{"'],
    ["{ 'a': 1 }", '1:3 unexpected "\'", expected a name in double quotes'],
  ])("%j fails with its place", (text, words) => {
    expect(failure(text)).toBe(words);
  });

  test.each([
    ['{ "a": 1, "a": 2 }', '1:11 "a" comes twice'],
    ['{\n  "a": { "b": 1 },\n  "b": 2,\n  "\\u0061": 3 }', '4:3 "a" comes twice'],
    ['[{ "a": 1 }, { "a": { "a": 2 } }]', "none"],
  ])("%j: a name may come once in an object", (text, words) => {
    expect(failure(text)).toBe(words);
  });

  test("is read as the runtime reads it, byte order mark or not", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(parseJson(text)).toEqual(JSON.parse(text));
        expect(parseJson(`\uFEFF${text}`)).toEqual(JSON.parse(text));
      }),
    );
  });

  test("that the runtime refuses is refused with a place inside the text, however it is broken", () => {
    fc.assert(
      fc.property(fc.json(), fc.nat(), fc.string({ maxLength: 3 }), (text, at, junk) => {
        const broken = text.slice(0, at % (text.length + 1)) + junk + text.slice(at % (text.length + 1));
        let fine = true;
        try {
          JSON.parse(broken);
        } catch {
          fine = false; // What the property is about.
        }
        if (fine) expect(failure(broken)).toMatch(/^none$|comes twice$/);
        else expect(failure(broken)).toMatch(/^\d+:\d+ ./);
      }),
    );
  });
});
