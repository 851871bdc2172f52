import { randomBytes } from "node:crypto";
import { describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import { createSealer, makeFleetKey, parseFleetKeys } from "../../src/storage/seal.ts";

const [one, two] = [randomBytes(32), randomBytes(32)];
const value = new TextEncoder().encode("a private key");
const codeOf = (work: () => unknown): string => {
  try {
    work();
    return "none";
  } catch (thrown) {
    return thrown instanceof EdgeError ? thrown.code : String(thrown);
  }
};

describe("a sealed value", () => {
  test("opens under its own name, and shows nothing of what it holds", () => {
    const sealer = createSealer([one]);
    const sealed = sealer.seal("certificates/a", value);
    expect(Buffer.from(sealed).includes("private")).toBe(false);
    expect(sealer.open("certificates/a", sealed)).toEqual(value);
    expect(sealer.open("e", sealer.seal("e", new Uint8Array(0)))).toEqual(new Uint8Array(0));
  });

  test("is sealed otherwise each time", () => {
    const sealer = createSealer([one]);
    expect(sealer.seal("a", value)).not.toEqual(sealer.seal("a", value));
  });

  test("does not open in another's place", () => {
    const sealer = createSealer([one]);
    expect(codeOf(() => sealer.open("certificates/b", sealer.seal("certificates/a", value)))).toBe(
      "STORAGE_CORRUPT",
    );
  });

  test("does not open with any bit changed", () => {
    const sealer = createSealer([one]);
    const sealed = sealer.seal("a", value);
    for (let byte = 0; byte < sealed.length; byte++) {
      const bent = sealed.slice();
      bent[byte]! ^= 1;
      expect(codeOf(() => sealer.open("a", bent))).toMatch(/^STORAGE_(CORRUPT|UNREADABLE)$/);
    }
    expect(codeOf(() => sealer.open("a", sealed.subarray(0, 20)))).toBe("STORAGE_CORRUPT");
    expect(codeOf(() => sealer.open("a", value))).toBe("STORAGE_CORRUPT");
  });

  test("names the key that is missing, without telling any", () => {
    const sealed = createSealer([one]).seal("a", value);
    const other = createSealer([two]);
    let message = "";
    try {
      other.open("a", sealed);
    } catch (thrown) {
      message = (thrown as Error).message;
    }
    expect(message).toContain(createSealer([one]).keyId);
    expect(message).toContain(other.keyId);
    expect(message).not.toContain(two.toString("base64"));
  });

  test("opens with any of several keys, and is sealed with the first", () => {
    const both = createSealer([two, one]);
    expect(both.open("a", createSealer([one]).seal("a", value))).toEqual(value);
    expect(createSealer([two]).open("a", both.seal("a", value))).toEqual(value);
  });
});

describe("fleet keys", () => {
  test("are read from a list, or a file with notes", () => {
    const [a, b] = [makeFleetKey(), makeFleetKey()];
    expect(parseFleetKeys(`${a},${b}`, "X").map((key) => key.toString("base64"))).toEqual([a, b]);
    expect(parseFleetKeys(`# of 2026\n${a}\n\n${b}\n`, "X").length).toBe(2);
  });

  test("of another length or alphabet are refused without being quoted", () => {
    for (const text of [
      "",
      "c2hvcnQ=",
      `${makeFleetKey()}x`,
      "not base64 at all!",
      `${makeFleetKey()},c2hvcnQ=`,
    ]) {
      let message = "taken";
      try {
        parseFleetKeys(text, "SKERRY_FLEET_KEY");
      } catch (thrown) {
        message = (thrown as Error).message;
      }
      expect(message).toMatch(/SKERRY_FLEET_KEY .*skerry fleet key/);
      expect(message).not.toContain("c2hvcnQ");
    }
  });
});
