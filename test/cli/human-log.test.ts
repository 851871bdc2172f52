import { describe, expect, test } from "vitest";
import { humanLog } from "../../src/cli/human-log.ts";
import type { Clock } from "../../src/clock.ts";

const noon = new Date(2026, 0, 2, 12, 0, 1).getTime();
const clock: Clock = { now: () => 0, wall: () => noon, after: () => ({ cancel() {} }) };

function told(work: (log: ReturnType<typeof humanLog>) => void, without?: string): string[] {
  const lines: string[] = [];
  work(
    humanLog({
      clock,
      write: (line) => lines.push(line),
      names: new Map([["http://127.0.0.1:40123", "statler"]]),
      ...(without !== undefined && { without }),
    }),
  );
  return lines;
}

describe("the log for a person", () => {
  test("is one short line per request, with the server's short name", () => {
    const request = { method: "GET", host: "localhost", path: "/box?seat=1", status: 200, ms: 3.07 };
    expect(
      told((log) => {
        log.info("request", { ...request, server: "http://127.0.0.1:40123" });
        log.info("request", { ...request, status: 502, reason: "no server answers" });
      }),
    ).toEqual([
      "12:00:01 GET localhost/box?seat=1 200 3.1 ms → statler\n",
      "12:00:01 GET localhost/box?seat=1 502 3.1 ms no server answers\n",
    ]);
  });

  test("names warnings and errors, and leaves stacks and debugging out", () => {
    expect(
      told((log) => {
        log.info("edge.ready");
        log.debug("pool.picked");
        log.info("certificate.loaded", { host: "localhost", generation: 2 });
        log.error("config.refused", {
          code: "CONFIG_INVALID",
          message: "hosts: missing",
          stack: "Error\n  at x",
        });
      }),
    ).toEqual([
      "12:00:01 certificate.loaded host=localhost generation=2\n",
      "12:00:01 error: config.refused code=CONFIG_INVALID hosts: missing\n",
    ]);
  });

  test("is quiet while the edge starts and stops, unless something is wrong", () => {
    expect(
      told((log) => {
        log.info("server.added", { server: "a" });
        log.warn("certificate.failed", { host: "a" });
        log.info("edge.ready", { hosts: 1 });
        log.info("server.added", { server: "b" });
        log.info("process.stopping", { signal: "SIGINT" });
        log.info("server.removed", { server: "a" });
      }),
    ).toEqual(["12:00:01 warn: certificate.failed host=a\n", "12:00:01 server.added server=b\n"]);
  });

  test("leaves out what begins as it is told", () => {
    const lines = told((log) => {
      log.info("edge.ready");
      log.warn("fleet.edge_gone", { edge: "last-run" });
      log.warn("fleet.unknown", { edge: "b" });
    }, "fleet.edge_");
    expect(lines.join("")).not.toContain("last-run");
    expect(lines.join("")).toContain("fleet.unknown edge=b");
  });

  test("stays one line without control characters, whatever a client asks for", () => {
    const [line] = told((log) =>
      log.info("request", { method: "GET", host: "a", path: "/\u001b[2J\r\nx\u009b", status: 404 }),
    );
    expect(line).toBe("12:00:01 GET a/?[2J??x? 404\n");
  });
});
