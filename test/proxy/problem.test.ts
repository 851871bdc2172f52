import { describe, expect, test } from "vitest";
import { EdgeError, type ErrorCode } from "../../src/errors.ts";
import { getHeader } from "../../src/exchange/headers.ts";
import { problem } from "../../src/proxy/problem.ts";

const error = (code: ErrorCode, status: number): EdgeError =>
  new EdgeError(code, "server 10.0.0.5:8000 said secret-token", { source: "upstream", status });
const text = (body: Uint8Array): string => Buffer.from(body).toString();
const BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

describe("a problem document", () => {
  test("says type, title, status, detail, code and request id", () => {
    const { head, body } = problem(error("UPSTREAM_TIMEOUT", 504), { requestId: "abc-1" });
    expect(head.status).toBe(504);
    expect(getHeader(head.headers, "content-type")).toBe("application/problem+json");
    expect(getHeader(head.headers, "cache-control")).toBe("no-store");
    expect(getHeader(head.headers, "x-request-id")).toBe("abc-1");
    expect(getHeader(head.headers, "content-length")).toBe(String(body.length));
    expect(JSON.parse(text(body))).toEqual({
      type: "about:blank",
      title: "Gateway timeout",
      status: 504,
      detail: "The site's server took too long to answer.",
      code: "UPSTREAM_TIMEOUT",
      requestId: "abc-1",
    });
  });

  test("never says the error's own message", () => {
    for (const accept of [undefined, BROWSER])
      for (const code of ["UPSTREAM_CONNECT", "INTERNAL", "MIDDLEWARE_FAILED", "PROTOCOL_ERROR"] as const)
        expect(text(problem(error(code, 502), { accept }).body)).not.toMatch(/10\.0\.0\.5|secret/);
  });

  test("503 says when to come back, others do not", () => {
    expect(getHeader(problem(error("NO_SERVER", 503)).head.headers, "retry-after")).toBe("5");
    expect(getHeader(problem(error("UPSTREAM_RESET", 502)).head.headers, "retry-after")).toBeUndefined();
  });

  test("a status that is none becomes 500", () => {
    expect(problem(error("INTERNAL", 200)).head.status).toBe(500);
  });
});

describe("the page for people", () => {
  test.each([
    [BROWSER, true],
    ["text/html", true],
    ["application/json, text/html;q=0.9", false],
    ["text/html;q=0, */*", false],
    ["*/*", false],
    ["application/json", false],
    ["", false],
    [undefined, false],
  ])("Accept: %s → html %s", (accept, html) => {
    const type = getHeader(problem(error("NO_SERVER", 503), { accept }).head.headers, "content-type");
    expect(type).toBe(html ? "text/html; charset=utf-8" : "application/problem+json");
  });

  test("loads nothing and escapes what comes from outside", () => {
    const { head, body } = problem(error("NO_SERVER", 503), { accept: BROWSER, requestId: '<script>"x"' });
    expect(getHeader(head.headers, "content-security-policy")).toContain("default-src 'none'");
    expect(text(body)).not.toMatch(/<script|https?:\/\/|src=/);
    expect(text(body)).toContain("&#60;script&#62;");
    expect(text(body)).toContain("Service unavailable");
  });
});
