/** What Node is asked in full, asked of Bun and Deno where they could differ: crashes in the middle, and renewal at the CA's word. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { visitPlain } from "../runtime/client.ts";
import { configFile, startEdge } from "../support/edge.ts";
import { CHANGES, type CrashLab, startCrashLab } from "./crash-lab.ts";
import { type Lab, startLab } from "./lab.ts";

const RUNTIMES = ["bun", "deno"] as const;
const LIFETIME_SECONDS = 120;

let crashes: CrashLab;
let shortLived: Lab;
beforeAll(async () => {
  [crashes, shortLived] = await Promise.all([
    startCrashLab(),
    startLab({ validitySeconds: LIFETIME_SECONDS }),
  ]);
});
afterEach(() => {
  crashes.lab.front.reset();
  shortLived.front.reset();
});
afterAll(async () => {
  await crashes?.close();
  await shortLived?.close();
});

describe.each(RUNTIMES)("on %s", (runtime) => {
  // Before and after the order's URL is kept, and before and after the certificate is.
  const at = (what: (typeof CHANGES)[number]): number => CHANGES.indexOf(what) + 1;
  test.each([
    ["before", "order", at("order")],
    ["after", "order", at("order")],
    ["before", "certificate", at("certificate")],
    ["after", "certificate", at("certificate")],
  ] as const)(
    "an edge that is killed %s the change of its %s (%i) finishes what it began",
    (when, _, change) => crashes.atChange(runtime, when, change),
  );

  test("an edge that is killed before it hears the answer to finalize orders once", () =>
    crashes.atAnswer(runtime, "finalize", 1));

  test("a certificate is renewed when the CA suggests it, and the order says which one it replaces", async () => {
    const { front, answerers } = shortLived;
    const host = `${runtime}.example.test`;
    const asked: string[] = [];
    // The first certificate is wanted back at once, the others late: by its dates it would be renewed after a minute.
    front.renewal = (id) => {
      if (!asked.includes(id)) asked.push(id);
      const from = Date.now() + (id === asked[0] ? -60_000 : 3_600_000);
      return {
        suggestedWindow: { start: new Date(from).toISOString(), end: new Date(from + 1000).toISOString() },
      };
    };
    const starts = startEdge(
      runtime,
      configFile({
        listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", admin: "127.0.0.1:0" },
        storage: "file:./certs",
        acme: { directory: front.directory, trustedCa: front.caPath, agreeToTerms: true },
        backends: { web: { servers: ["http://127.0.0.1:9"] } },
        hosts: { [host]: { backend: "web" } },
      }),
    );
    // Listening before the edge is: the CA may ask before the edge's line about its ports is read here.
    const answerer = async (name: string, path: string): Promise<string | undefined> => {
      const { http } = await starts;
      const answer = await visitPlain({ port: http.port, host: name, path });
      return answer.status === 200 ? answer.body : undefined;
    };
    answerers.add(answerer);
    const edge = await starts;
    try {
      await edge.process.saw(/"event":"certificate\.renewed"/, 25_000);
      const [first, second] = front.orders(host);
      expect(first?.payload.replaces).toBeUndefined();
      expect(second?.payload.replaces).toBe(asked[0]);
      const [obtained] = edge.logs("certificate.obtained");
      const [renewed] = edge.logs("certificate.renewed");
      expect([obtained?.generation, renewed?.generation]).toEqual([1, 2]);
      const waited = Date.parse(String(renewed?.time)) - Date.parse(String(obtained?.time));
      expect(waited).toBeLessThan((LIFETIME_SECONDS * 1000) / 2);
      expect(edge.logs("certificate.failed")).toEqual([]);
    } finally {
      answerers.delete(answerer);
      await edge.stop();
    }
  });
});
