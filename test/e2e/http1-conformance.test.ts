/** HTTP/1.1 as a stranger speaks it: raw bytes to the whole edge, by TLS and without, on every runtime. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { edgeFor, quiet, RUNTIMES, surprises, type TestEdge } from "./edges.ts";
import { CUT, REFUSED, VALID } from "./http1-cases.ts";
import { bytes, type Door, dribble, talk } from "./wire.ts";

const HOST = "app.example.test";

/** Tells every request back: its method, its target, its body. */
const origin = createServer((request, response) => {
  let body = "";
  request.setEncoding("latin1").on("data", (text: string) => {
    body += text;
  });
  request.on("end", () => response.end(bytes(`${request.method} ${request.url} ${body}`)));
});

beforeAll(async () => {
  await new Promise<void>((resolve) => origin.listen({ port: 0, host: "127.0.0.1" }, resolve));
});
afterAll(() => {
  origin.closeAllConnections();
  origin.close();
});

describe.each(RUNTIMES)("HTTP/1.1 on %s", (runtime) => {
  let edge: TestEdge;
  beforeAll(async () => {
    edge = await edgeFor(runtime, { [HOST]: [`http://127.0.0.1:${(origin.address() as AddressInfo).port}`] });
  });
  afterAll(async () => {
    await edge?.stop();
  });
  const secure = (): Door => ({ port: edge.https.port, serverName: HOST });

  test.each(VALID)("answers $what ($section)", async ({ text, seen, closes, head }) => {
    const once = [bytes(text)];
    const options = head ? { boundMs: 1500 } : { answers: seen.length };
    const [whole, split, halfClosed] = await Promise.all([
      talk(secure(), once, closes ? {} : options),
      talk(secure(), dribble(text), closes ? {} : options),
      talk(secure(), once, { halfClose: true }),
    ]);
    for (const got of [whole, split, halfClosed]) {
      const finals = got.responses.filter(({ parsed }) => parsed.head.status >= 200);
      expect(finals.map(({ parsed }) => parsed.head.status)).toEqual(seen.map(() => 200));
      if (!head) expect(finals.map(({ body }) => body)).toEqual(seen);
    }
    // A client that has said all it has to say is answered, and then let go.
    expect(halfClosed.end).toBe("fin");
    expect(whole.end).toBe(closes ? "fin" : "open");
  });

  /** A redirect, or the admin API's 421 for a name that is none of its own, to a request whose head is good. */
  const early = (door: string, text: string, status: number | undefined): boolean =>
    text.startsWith("POST / HTTP/1.1\r\nHost: ") &&
    ((door === "plain" && status === 308) || (door === "admin" && status === 421));
  const doors = (): [string, Door][] => [
    ["TLS", secure()],
    ["plain", { port: edge.http.port }],
    ["admin", { port: edge.admin.port }],
  ];

  test.each(REFUSED)(
    "refuses $what with $status and closes ($section)",
    async ({ text, status, before = 0 }) => {
      await Promise.all(
        doors().flatMap(([door, to]) =>
          [false, true].flatMap((halfClose) =>
            [[bytes(text)], dribble(text)].map(async (chunks) => {
              if (chunks.length > 4000) return; // A byte a packet says no more of a long head than of a short one.
              const got = await talk(to, chunks, { halfClose });
              const how = `${door}, ${chunks.length} writes${halfClose ? ", half-closed" : ""}: ${got.text}`;
              expect(got.statuses, how).toHaveLength(before + 1);
              // Where nobody waits for the body, the answer may be out before the fault is in.
              if (!early(door, text, got.statuses.at(-1))) expect(got.statuses.at(-1), how).toBe(status);
              if (got.statuses.at(-1) === status)
                expect(got.responses.at(-1)?.parsed.keepAlive, how).toBe(false);
              expect(got.end, how).toBe("fin");
            }),
          ),
        ),
      );
    },
  );

  test.each(CUT)("refuses $what with $status and closes ($section)", async ({ text, status }) => {
    for (const [door, to] of doors()) {
      const got = await talk(to, [bytes(text)], { halfClose: true });
      const expected = early(door, text, got.statuses[0]) ? got.statuses[0] : status;
      expect([door, got.statuses, got.end]).toEqual([door, [expected], "fin"]);
    }
  });

  test("asks for the body that a client holds back, once (RFC 9110 §10.1.1)", async () => {
    const head = `POST / HTTP/1.1\r\nHost: ${HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n`;
    const got = await talk(secure(), [bytes(head)], { boundMs: 1500 });
    expect(got.text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  });

  test("is left with nothing in flight and nothing unforeseen", async () => {
    await quiet(edge);
    expect(surprises(edge)).toEqual([]);
  });
});
