import { describe, expect, test } from "vitest";
import { getHeader } from "../../src/exchange/headers.ts";
import { acceptedFields, acceptOf, withKey } from "../../src/proxy/websocket.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

describe("the WebSocket handshake between HTTP versions", () => {
  test("the proof is RFC 6455's own example", () => {
    expect(acceptOf(KEY)).toBe(ACCEPT);
  });

  test("a client's key is kept, and one is made where an HTTP/2 client sent none", () => {
    const own = ["Sec-WebSocket-Key", KEY];
    expect(withKey(own)).toBe(own);
    expect(Buffer.from(getHeader(withKey([]), "sec-websocket-key")!, "base64")).toHaveLength(16);
  });

  test("an HTTP/1 client gets the proof, also from a server that gave none", () => {
    const sent = ["Sec-WebSocket-Key", KEY];
    expect(acceptedFields(["Sec-WebSocket-Accept", ACCEPT], sent, "1.1")).toEqual([
      "Sec-WebSocket-Accept",
      ACCEPT,
    ]);
    expect(acceptedFields([], sent, "1.1")).toEqual(["Sec-WebSocket-Accept", ACCEPT]);
  });

  test("an HTTP/2 client gets none", () => {
    const fields = ["Sec-WebSocket-Accept", ACCEPT, "Sec-WebSocket-Protocol", "chat"];
    expect(acceptedFields(fields, ["sec-websocket-key", KEY], "2")).toEqual([
      "Sec-WebSocket-Protocol",
      "chat",
    ]);
  });

  test("a wrong proof is no handshake, for either", () => {
    for (const version of ["1.1", "2"] as const)
      expect(
        acceptedFields(["Sec-WebSocket-Accept", "bm8="], ["Sec-WebSocket-Key", KEY], version),
      ).toBeUndefined();
  });
});
