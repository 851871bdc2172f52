import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { responseHead } from "../../src/exchange/exchange.ts";
import { getHeader, getHeaders, type HeaderList } from "../../src/exchange/headers.ts";
import { forwardedNode } from "../../src/proxy/forwarded.ts";
import {
  clientHead,
  isLoop,
  maxForwards,
  type RequestFacts,
  requestHeaders,
  responseHeaders,
} from "../../src/proxy/headers.ts";

const connection = { id: 1, remoteAddress: "192.0.2.7", remotePort: 4000, localPort: 443 };
const facts: RequestFacts = {
  version: "1.1",
  connection,
  via: "skerry",
  scheme: "https",
  authority: "app.example.com",
  peer: "192.0.2.7",
  peerTrusted: false,
  clientAddress: "192.0.2.7",
};
const send = (headers: HeaderList, changed: Partial<RequestFacts> = {}): HeaderList =>
  requestHeaders(headers, { ...facts, ...changed });

/** What the edge itself adds to a request without any field. */
const OWN = [
  "Via",
  "1.1 skerry",
  "X-Forwarded-For",
  "192.0.2.7",
  "X-Forwarded-Proto",
  "https",
  "X-Forwarded-Host",
  "app.example.com",
  "Forwarded",
  "for=192.0.2.7;host=app.example.com;proto=https",
];

describe("request fields", () => {
  test("end-to-end fields go on as they are, in order, with ours behind", () => {
    const headers = ["Accept", "*/*", "cookie", "a=1", "Accept-Encoding", "br", "X-A", "1", "X-A", "2"];
    expect(send(headers)).toEqual([...headers, ...OWN]);
  });

  test.each([
    ["Connection", "keep-alive"],
    ["Keep-Alive", "timeout=5"],
    ["Proxy-Connection", "keep-alive"],
    ["Transfer-Encoding", "chunked"],
    ["Upgrade", "h2c"],
    ["HTTP2-Settings", "AAMAAABkAAQAAP__"],
    ["Proxy-Authorization", "Basic xyz"],
    ["Proxy-Authenticate", "Basic"],
    ["TE", "gzip"],
    ["Host", "app.example.com"],
    ["Content-Length", "5"],
    ["Proxy", "http://evil.example"],
    ["X-Request-Id", "mine"],
    ["X-Forwarded-For", "10.0.0.1"],
    ["X-Forwarded-Proto", "http"],
    ["X-Forwarded-Host", "evil.example"],
    ["X-Forwarded-Port", "1"],
    ["X-Forwarded-Prefix", "/admin"],
    ["X-Real-IP", "10.0.0.1"],
    ["Forwarded", "for=10.0.0.1"],
    ["x_forwarded_for", "10.0.0.1"],
    ["X_Forwarded-For", "10.0.0.1"],
    ["X.Forwarded.Proto", "https"],
    ["X_Real_IP", "10.0.0.1"],
    ["x-request_id", "mine"],
  ])("%s: %s from an unknown peer stops here, in any case", (name, value) => {
    for (const spelling of [name, name.toLowerCase(), name.toUpperCase()])
      expect(send(["Accept", "*/*", spelling, value])).toEqual(["Accept", "*/*", ...OWN]);
  });

  test("fields that Connection names stop here, case-insensitively", () => {
    const headers = [
      "connection",
      "Keep-Alive, X-Secret-HOP , ,x-other",
      "x-secret-hop",
      "1",
      "X-Other",
      "2",
      "X-C",
      "3",
    ];
    expect(send(headers)).toEqual(["X-C", "3", ...OWN]);
  });

  test.each(["Authorization", "Cookie", "Content-Type", "Expect", "Cache-Control"])(
    "Connection cannot take away %s",
    (name) => {
      expect(send(["Connection", `close, ${name.toLowerCase()}`, name, "v"])).toEqual([name, "v", ...OWN]);
    },
  );

  test("Connection cannot take away what a trusted proxy says, nor what the edge adds", () => {
    const tokens =
      "X-Forwarded-For, x-forwarded-proto, x-forwarded-port, Forwarded, Via, X-Real-IP, X-Request-Id, Host";
    const headers = ["Connection", tokens, "X-Forwarded-For", "198.51.100.1", "X-Forwarded-Port", "443"];
    const sent = send(headers, { peerTrusted: true });
    expect(getHeader(sent, "x-forwarded-for")).toBe("198.51.100.1, 192.0.2.7");
    expect(getHeader(sent, "x-forwarded-port")).toBe("443");
    expect(getHeader(sent, "via")).toBe("1.1 skerry");
  });

  test("no token of Connection ever takes a guarded field away", () => {
    const guarded = [
      "Authorization",
      "Cookie",
      "Via",
      "Forwarded",
      "X-Forwarded-For",
      "X-Forwarded-Anything",
    ];
    fc.assert(
      fc.property(fc.subarray(guarded), fc.boolean(), (tokens, upper) => {
        const connectionField = tokens.map((token) => (upper ? token.toUpperCase() : token)).join(",");
        const headers = ["Connection", connectionField, ...guarded.flatMap((name) => [name, "v"])];
        const sent = send(headers, { peerTrusted: true });
        for (const name of guarded) expect(getHeader(sent, name.toLowerCase())).toContain("v");
      }),
      { seed: 3 },
    );
  });

  test("TE keeps trailers and nothing else", () => {
    expect(send(["TE", "gzip;q=0.5, Trailers", "Connection", "te"])).toEqual(["TE", "trailers", ...OWN]);
  });

  test("Via is appended to, in one field", () => {
    expect(getHeaders(send(["Via", "1.0 a", "via", "2 b (x)"], { version: "2" }), "via")).toEqual([
      "1.0 a, 2 b (x), 2 skerry",
    ]);
  });

  test("an IPv6 client is quoted and bracketed in Forwarded, and plain in X-Forwarded-For", () => {
    const sent = send([], { peer: "2001:db8::1", authority: "app.example.com:8443" });
    expect(getHeader(sent, "forwarded")).toBe('for="[2001:db8::1]";host="app.example.com:8443";proto=https');
    expect(getHeader(sent, "x-forwarded-for")).toBe("2001:db8::1");
  });

  test("an IPv4 client of a dual-stack listener is an IPv4 client", () => {
    const sent = send([], { peer: "::ffff:192.0.2.9" });
    expect(getHeader(sent, "x-forwarded-for")).toBe("192.0.2.9");
    expect(getHeader(sent, "forwarded")).toMatch(/^for=192\.0\.2\.9;/);
  });

  test("a trusted proxy's words are kept and added to", () => {
    const sent = send(
      [
        "X-Forwarded-For",
        "198.51.100.1",
        "X-Forwarded-Proto",
        "http",
        "X-Forwarded-Host",
        "www.example.com",
        "X-Real-IP",
        "198.51.100.1",
        "Forwarded",
        "for=198.51.100.1;proto=http",
      ],
      { peerTrusted: true },
    );
    expect(sent).toEqual([
      "X-Real-IP",
      "198.51.100.1",
      "Via",
      "1.1 skerry",
      "X-Forwarded-For",
      "198.51.100.1, 192.0.2.7",
      "X-Forwarded-Proto",
      "http",
      "X-Forwarded-Host",
      "www.example.com",
      "Forwarded",
      "for=198.51.100.1;proto=http, for=192.0.2.7;host=app.example.com;proto=https",
    ]);
  });

  test("a trusted proxy that writes only X-Forwarded-For is told of in Forwarded too", () => {
    const sent = send(["X-Forwarded-For", "2001:db8::5, nonsense!, 198.51.100.2"], { peerTrusted: true });
    expect(getHeader(sent, "forwarded")).toBe(
      'for="[2001:db8::5]", for=unknown, for=198.51.100.2, for=192.0.2.7;host=app.example.com;proto=https',
    );
  });

  test("a trusted proxy's aliases are dropped all the same", () => {
    expect(send(["x_forwarded_for", "10.0.0.1"], { peerTrusted: true })).toEqual(OWN);
  });

  test("a node that is no address is unknown, whatever it holds", () => {
    expect(forwardedNode('1.2.3.4";proto=https')).toBe("unknown");
    expect(forwardedNode("[2001:db8::1]")).toBe('"[2001:db8::1]"');
    expect(forwardedNode("fe80::1%eth0")).toBe('"[fe80::1]"');
    expect(forwardedNode("192.0.2.1:4711")).toBe('"192.0.2.1:4711"');
    expect(forwardedNode("[2001:db8::1]:4711")).toBe('"[2001:db8::1]:4711"');
    for (const junk of ["", "unknown", "1234", "a.b.c.d", "[", "::1]x", "1.2.3.4;by=x"])
      expect(forwardedNode(junk)).toBe("unknown");
  });

  test("a repeated head gives the same list again", () => {
    const memo = {};
    const first = requestHeaders(["Accept", "*/*", "Connection", "close"], facts, memo);
    expect(requestHeaders([], { ...facts }, memo)).toBe(first);
  });

  test("a head seen on another connection, or by an edge that trusts otherwise, is worked out again", () => {
    const memo = {};
    const headers = ["X-Forwarded-For", "198.51.100.1"];
    requestHeaders(headers, facts, memo);
    const trusted = requestHeaders(headers, { ...facts, peerTrusted: true }, memo);
    expect(getHeader(trusted, "x-forwarded-for")).toBe("198.51.100.1, 192.0.2.7");
    const other = { ...facts, connection: { ...connection, id: 2 }, peer: "192.0.2.8" };
    expect(getHeader(requestHeaders(headers, other, memo), "x-forwarded-for")).toBe("192.0.2.8");
  });
});

describe("response fields", () => {
  test("end-to-end fields pass as the same list", () => {
    const headers = [
      "Content-Encoding",
      "br",
      "Content-Length",
      "5",
      "Set-Cookie",
      "a=1",
      "Set-Cookie",
      "b=2",
    ];
    expect(responseHeaders(headers)).toBe(headers);
    const head = responseHead(200, headers);
    expect(clientHead(head)).toBe(head);
  });

  test("hop-by-hop fields and those that Connection names stop here", () => {
    const headers = [
      "Connection",
      "close, X-Hop",
      "x-hop",
      "1",
      "Keep-Alive",
      "timeout=5",
      "Transfer-Encoding",
      "chunked",
      "Upgrade",
      "h2c",
      "Proxy-Authenticate",
      "Basic",
      "Trailer",
      "x-sum",
      "Content-Type",
      "text/plain",
    ];
    expect(responseHeaders(headers)).toEqual(["Trailer", "x-sum", "Content-Type", "text/plain"]);
  });

  test("Connection cannot take away Set-Cookie or Content-Length", () => {
    const headers = ["Connection", "set-cookie, content-length", "Set-Cookie", "a=1", "Content-Length", "3"];
    expect(responseHeaders(headers)).toEqual(["Set-Cookie", "a=1", "Content-Length", "3"]);
  });

  test("a head that is seen again gives the same head again", () => {
    const head = responseHead(200, ["Connection", "keep-alive", "X", "1"]);
    expect(clientHead(head).headers).toEqual(["X", "1"]);
    expect(clientHead(head)).toBe(clientHead(head));
  });
});

test("five passes through this edge are a loop; other edges do not count", () => {
  expect(isLoop(["Via", "1.1 skerry, 1.1 skerry, 1.1 skerry, 1.1 skerry"], "skerry")).toBe(false);
  expect(
    isLoop(["Via", "1.1 skerry, 2 skerry", "via", "1.1 skerry,1.1  skerry (x), 1.1 skerry"], "skerry"),
  ).toBe(true);
  expect(isLoop(["Via", Array(20).fill("1.1 other").join(", ")], "skerry")).toBe(false);
});

test("Max-Forwards counts for OPTIONS and TRACE alone", () => {
  expect(maxForwards("OPTIONS", ["max-forwards", "0"])).toBe(0);
  expect(maxForwards("TRACE", ["Max-Forwards", "7"])).toBe(7);
  expect(maxForwards("GET", ["Max-Forwards", "0"])).toBeUndefined();
  expect(maxForwards("OPTIONS", ["Max-Forwards", "x"])).toBeUndefined();
  expect(maxForwards("OPTIONS", [])).toBeUndefined();
});
