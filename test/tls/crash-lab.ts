/** What tests of crashes share: a CA, and a process that obtains one host's certificate and may be told to die on the way. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import { thumbprintOf } from "../../src/tls/account.ts";
import type { AcmeStep } from "../support/acme-front.ts";
import { command, type Runtime } from "../support/edge.ts";
import { type Child, start } from "../support/processes.ts";
import { type Lab, startLab } from "./lab.ts";

/** As written: account's key, account's URL, ledger, order, certificate, order's end, ledger's end. */
export const CHANGES = [
  "account key",
  "account",
  "ledger entry",
  "order",
  "certificate",
  "order's end",
  "ledger's end",
] as const;

/** Steps at the CA, with the orders that there are in the end when a process dies before it hears the answer. */
export const ANSWERS: readonly [AcmeStep, number][] = [
  ["newAccount", 1],
  ["newOrder", 2],
  ["authorization", 1],
  ["challenge", 1],
  ["order", 1],
  ["finalize", 1],
  ["certificate", 1],
];

export interface CrashLab {
  readonly lab: Lab;
  /** Dies before or after the change of its storage, and is started again. */
  atChange(runtime: Runtime, when: "before" | "after", change: number): Promise<void>;
  /** Dies when the CA has answered and it has not heard, and is started again. */
  atAnswer(runtime: Runtime, step: AcmeStep, orders: number): Promise<void>;
  close(): Promise<void>;
}

export async function startCrashLab(): Promise<CrashLab> {
  const lab = await startLab();
  const folder = await mkdtemp(join(tmpdir(), "skerry-crash-"));
  // Whatever process asked, the account in its folder answers.
  lab.answerers.add(async (host, path) => {
    const root = join(folder, host, "accounts");
    const [issuer = ""] = await readdir(root);
    const { key } = JSON.parse(await readFile(join(root, issuer, "account"), "utf8")) as { key: string };
    return `${path.split("/").at(-1)}.${thumbprintOf(key)}`;
  });

  const run = (runtime: Runtime, host: string, ...more: string[]): Child => {
    const { directory, caPath } = lab.front;
    const [program, ...before] = command(runtime, "test/tls/crash-script.ts");
    return start(program, [...before, directory, caPath, join(folder, host), host, ...more]);
  };

  /** Restarts after a crash, and looks at what there is in the end. */
  const recover = async (runtime: Runtime, host: string) => {
    const again = run(runtime, host);
    await again.saw(/"event":"done"/, 20_000);
    await again.ended;
    const stored = await readFile(join(folder, host, "certificates", host), "utf8");
    const { key, chain, generation } = JSON.parse(stored) as {
      key: string;
      chain: string;
      generation: number;
    };
    expect(new X509Certificate(chain).checkPrivateKey(createPrivateKey(key))).toBe(true);
    expect(generation).toBe(1);
    const made = lab.front.orders(host).length;
    const count = (step: AcmeStep) => lab.front.requests.filter((each) => each.step === step).length;
    return { orders: made, accounts: count("newAccount"), finalized: count("finalize") };
  };

  return {
    lab,
    async atChange(runtime, when, change) {
      const host = `${runtime}-${change}${when}.example.test`;
      const { signal } = await run(runtime, host, String(change), when).ended;
      expect(signal).toBe("SIGKILL");
      const { orders, finalized } = await recover(runtime, host);
      // The order's URL was not written down yet in one case only.
      expect(orders).toBe(when === "before" && CHANGES[change - 1] === "order" ? 2 : 1);
      expect(finalized).toBe(1);
    },
    async atAnswer(runtime, step, orders) {
      const host = `${runtime}-${step.toLowerCase()}.example.test`;
      let held = false;
      const victim = { child: undefined as Child | undefined };
      lab.front.on(step, async (_, forward) => {
        const reply = await forward();
        if (held) return reply;
        held = true;
        victim.child?.signal("SIGKILL");
        return "cut";
      });
      victim.child = run(runtime, host);
      expect((await victim.child.ended).signal).toBe("SIGKILL");
      const after = await recover(runtime, host);
      expect(after.orders).toBe(orders);
      // The key was stored before the CA saw it, so that asking again gives the same account.
      expect(after.accounts).toBe(step === "newAccount" ? 2 : 1);
      expect(after.finalized).toBe(1);
    },
    async close() {
      await lab.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
