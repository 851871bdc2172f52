/** gRPC through the whole edge: both languages as client and as server, on every runtime. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run, start } from "../support/processes.ts";
import { edgeFor, quiet, RUNTIMES, surprises, type TestEdge } from "./edges.ts";
import { callGrpc, type Found, type GrpcServer, startGrpcServer } from "./grpc-peers.ts";

/** The system's own, for which Debian packages grpc. */
const PYTHON = "/usr/bin/python3";
const PEER = fileURLToPath(new URL("./grpc-peer.py", import.meta.url));

let javascript: GrpcServer;
let python: number;
beforeAll(async () => {
  javascript = await startGrpcServer();
  const [, port] = await start(PYTHON, [PEER, "serve"]).saw(/listening (\d+)/);
  python = Number(port);
});
afterAll(() => javascript?.stop());

async function callPython(port: number, name: string, ca: string): Promise<Found> {
  const path = join(mkdtempSync(join(tmpdir(), "skerry-grpc-")), "ca.pem");
  writeFileSync(path, ca);
  const { stdout, output, code } = await run(PYTHON, [PEER, "call", String(port), name, path]);
  if (code !== 0) throw new Error(output);
  return JSON.parse(stdout) as Found;
}

function expectAll(found: Found, asked: string): void {
  expect(found.unary).toEqual({
    text: "hello",
    initial: asked,
    trailing: "5",
    raw: [0, 255, 13, 10],
    status: 0,
  });
  expect(found).toMatchObject({ large: true, empty: true, none: 0, total: "20:1000000", many: true });
  expect(found.repeat).toEqual([70_000, 70_000, 70_000, 70_000, 70_000]);
  expect(found.chat).toEqual(Array.from({ length: 10 }, (_, turn) => `turn ${turn}`));
  expect(found.fail).toEqual({ code: 5, details: "no such thing: é", trailers: { "x-why": "gone" } });
  expect(found.late).toEqual(["one", "two"]);
  expect(found.failLate).toMatchObject({ code: 8, details: "enough" });
  expect(found.unknown.code).toBe(12);
  expect(found.deadline.code).toBe(4);
  expect(found.cancelled).toBe(2);
}

describe.each(RUNTIMES)("gRPC on %s", (runtime) => {
  let edge: TestEdge;
  beforeAll(async () => {
    edge = await edgeFor(runtime, {
      "javascript.example.test": [`h2c://127.0.0.1:${javascript.port}`],
      "python.example.test": [`h2c://127.0.0.1:${python}`],
    });
  });
  afterAll(async () => {
    await edge?.stop();
  });

  test.each(["javascript", "python"])("a client in JavaScript calls a server in %s", async (server) => {
    expectAll(await callGrpc(edge.https.port, `${server}.example.test`, edge.ca), "by js");
  });

  test.each(["javascript", "python"])("a client in Python calls a server in %s", async (server) => {
    expectAll(await callPython(edge.https.port, `${server}.example.test`, edge.ca), "by py");
  });

  test("nothing is left in flight, and nothing unforeseen happened", async () => {
    await quiet(edge);
    expect(surprises(edge)).toEqual([]);
  });
});
