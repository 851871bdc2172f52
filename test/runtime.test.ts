import { expect, test } from "vitest";
import { alpnOptions } from "../src/runtime.ts";

test("of what a client offers in ALPN, the server's favourite is taken, or nothing", () => {
  const { ALPNCallback } = alpnOptions(["h2", "http/1.1"]);
  expect(ALPNCallback?.({ protocols: ["http/1.1", "h2"] })).toBe("h2");
  expect(ALPNCallback?.({ protocols: ["http/1.1"] })).toBe("http/1.1");
  expect(ALPNCallback?.({ protocols: ["imap"] })).toBeUndefined();
});
