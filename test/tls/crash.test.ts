/** kill -9 at every step of an order, then a restart: one certificate, no lost key, no second order where the first can be finished. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { thumbprintOf } from "../../src/tls/account.ts";
import type { AcmeStep } from "../support/acme-front.ts";
import { type Child, start } from "../support/processes.ts";
import { type Lab, startLab } from "./lab.ts";

let lab: Lab;
let folder: string;
beforeAll(async () => {
  lab = await startLab();
  folder = await mkdtemp(join(tmpdir(), "skerry-crash-"));
  // Whatever process asked, the account in its folder answers.
  lab.answerers.add(async (host, path) => {
    const root = join(folder, host, "accounts");
    const [issuer = ""] = await readdir(root);
    const { key } = JSON.parse(await readFile(join(root, issuer, "account"), "utf8")) as { key: string };
    return `${path.split("/").at(-1)}.${thumbprintOf(key)}`;
  });
});
afterEach(() => lab.front.reset());
afterAll(async () => {
  await lab?.close();
  await rm(folder, { recursive: true, force: true });
});

function run(host: string, ...more: string[]): Child {
  const { directory, caPath } = lab.front;
  return start("node", ["test/tls/crash-script.ts", directory, caPath, join(folder, host), host, ...more]);
}

interface After {
  readonly orders: number;
  readonly accounts: number;
  readonly finalized: number;
}

/** Restarts after a crash, and looks at what there is in the end. */
async function recover(host: string): Promise<After> {
  const again = run(host);
  await again.saw(/"event":"done"/, 20_000);
  await again.ended;
  const stored = await readFile(join(folder, host, "certificates", host), "utf8");
  const { key, chain, generation } = JSON.parse(stored) as { key: string; chain: string; generation: number };
  expect(new X509Certificate(chain).checkPrivateKey(createPrivateKey(key))).toBe(true);
  expect(generation).toBe(1);
  const made = lab.front.orders(host).length;
  const count = (step: AcmeStep) => lab.front.requests.filter((each) => each.step === step).length;
  return { orders: made, accounts: count("newAccount"), finalized: count("finalize") };
}

describe("an edge that is killed", () => {
  // As written: account's key, account's URL, ledger, order, certificate, order's end, ledger's end.
  const CHANGES = [
    "account key",
    "account",
    "ledger entry",
    "order",
    "certificate",
    "order's end",
    "ledger's end",
  ];
  const POINTS = CHANGES.flatMap((what, index) =>
    (["before", "after"] as const).map((when) => [when, what, index + 1] as const),
  );
  test.each(POINTS)("%s the change of its %s (%i) finishes what it began", async (when, _, at) => {
    const host = `s${at}${when}.example.test`;
    const { signal } = await run(host, String(at), when).ended;
    expect(signal).toBe("SIGKILL");
    const { orders, finalized } = await recover(host);
    // The order's URL was not written down yet in one case only.
    expect(orders).toBe(when === "before" && at === 4 ? 2 : 1);
    expect(finalized).toBe(1);
  });

  test.each<[AcmeStep, number]>([
    ["newAccount", 1],
    ["newOrder", 2],
    ["authorization", 1],
    ["challenge", 1],
    ["order", 1],
    ["finalize", 1],
    ["certificate", 1],
  ])("before it hears the answer to %s makes %i order(s)", async (step, orders) => {
    const host = `c-${step.toLowerCase()}.example.test`;
    let held = false;
    const victim = { child: undefined as Child | undefined };
    lab.front.on(step, async (_, forward) => {
      const reply = await forward();
      if (held) return reply;
      held = true;
      victim.child?.signal("SIGKILL");
      return "cut";
    });
    victim.child = run(host);
    expect((await victim.child.ended).signal).toBe("SIGKILL");
    const after = await recover(host);
    expect(after.orders).toBe(orders);
    // The key was stored before the CA saw it, so that asking again gives the same account.
    expect(after.accounts).toBe(step === "newAccount" ? 2 : 1);
    expect(after.finalized).toBe(1);
  });
});
