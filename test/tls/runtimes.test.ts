import { type ChildProcess, spawn } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Pebble, startPebble } from "../support/pebble.ts";
import { freePorts } from "../support/ports.ts";

const SCRIPT = join(dirname(fileURLToPath(import.meta.url)), "edge-script.ts");
const RUNTIMES: readonly (readonly [string, readonly string[]])[] = [
  ["node", []],
  ["bun", []],
  ["deno", ["run", "-A", "--quiet"]],
];

let pebble: Pebble;
let challengePort: number;
let folder: string;
const children = new Set<ChildProcess>();

beforeAll(async () => {
  challengePort = (await freePorts(1))[0]!;
  folder = await mkdtemp(join(tmpdir(), "skerry-runtimes-"));
  pebble = await startPebble({ httpPort: challengePort, env: { PEBBLE_WFE_NONCEREJECT: "20" } });
});

afterAll(async () => {
  for (const child of children) child.kill("SIGKILL");
  await pebble?.close();
  await rm(folder, { recursive: true, force: true });
});

type Line = Record<string, unknown> & { event: string };

function startEdge(runtime: string, args: readonly string[], root: string) {
  const child = spawn(
    runtime,
    [...args, SCRIPT, pebble.directory, pebble.caPath, root, String(challengePort)],
    {
      stdio: ["pipe", "pipe", "pipe"],
    },
  );
  children.add(child);
  child.once("exit", () => children.delete(child));
  const lines: Line[] = [];
  let errors = "";
  const waiting = new Set<() => void>();
  child.stderr.on("data", (chunk) => {
    errors += chunk;
  });
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(JSON.parse(line) as Line);
    for (const check of waiting) check();
  });
  const event = (name: string, count = 1): Promise<Line> =>
    new Promise((resolve, reject) => {
      const bound = setTimeout(
        () => reject(new Error(`no ${name}: ${JSON.stringify(lines)} ${errors}`)),
        15_000,
      );
      const check = (): void => {
        const found = lines.filter((line) => line.event === name)[count - 1];
        if (!found) return;
        clearTimeout(bound);
        waiting.delete(check);
        resolve(found);
      };
      waiting.add(check);
      check();
    });
  return { child, lines, event };
}

/** A handshake that trusts only the CA's root; undefined where it is refused. */
async function handshake(port: number, servername: string, ca: string): Promise<X509Certificate | undefined> {
  const socket = connect({ host: "127.0.0.1", port, servername, ca });
  try {
    await once(socket, "secureConnect");
    return socket.getPeerX509Certificate();
  } catch {
    return undefined;
  } finally {
    socket.destroy();
  }
}

describe.each(RUNTIMES)("on %s", (runtime, args) => {
  test("an edge obtains certificates, serves them by name, and after a restart from storage", async () => {
    const root = join(folder, runtime);
    const first = startEdge(runtime, args, root);
    const { port } = (await first.event("listening")) as unknown as { port: number };
    expect(await first.event("started")).toMatchObject({ states: ["missing", "missing"] });
    await first.event("certificate.obtained", 2);
    expect(first.lines.filter((line) => line.event === "certificate.failed")).toEqual([]);
    const ca = await pebble.root();
    for (const name of ["a.example.test", "b.example.test"]) {
      expect((await handshake(port, name, ca))?.subjectAltName).toBe(`DNS:${name}`);
    }
    expect(await handshake(port, "c.example.test", ca)).toBeUndefined();
    const exited = once(first.child, "exit");
    first.child.stdin.end();
    await first.event("closed");
    expect((await exited)[0]).toBe(0);

    const second = startEdge(runtime, args, root);
    expect(await second.event("started")).toMatchObject({ states: ["valid", "valid"] });
    const again = (await second.event("listening")) as unknown as { port: number };
    expect(await handshake(again.port, "a.example.test", ca)).toBeInstanceOf(X509Certificate);
    expect(second.lines.some((line) => line.event === "certificate.obtained")).toBe(false);
    const gone = once(second.child, "exit");
    second.child.stdin.end();
    await gone;
  });
});

test("edges on all three runtimes that share a folder and port 80 make one account and one order per host", async () => {
  const root = join(folder, "shared");
  const before = pebble.issued();
  const edges = RUNTIMES.map(([runtime, args]) => startEdge(runtime, args, root));
  for (const { event } of edges) await event("started");
  const ca = await pebble.root();
  for (const { event, lines } of edges) {
    const { port } = (await event("listening")) as unknown as { port: number };
    await event("served-all");
    for (const name of ["a.example.test", "b.example.test"]) {
      expect((await handshake(port, name, ca))?.subjectAltName).toBe(`DNS:${name}`);
    }
    expect(lines.filter((line) => line.event === "certificate.failed")).toEqual([]);
  }
  expect(pebble.issued() - before).toBe(2);
  const gone = edges.map(({ child }) => once(child, "exit"));
  for (const { child } of edges) child.stdin.end();
  await Promise.all(gone);
});
