/** A program: asks the DNS server of its first argument for the names of the others, and prints what it learnt. */
import { systemClock } from "../../src/clock.ts";
import { createResolve } from "../../src/proxy/resolve-dns.ts";

const [server = "", hostsFile = "", ...names] = process.argv.slice(2);
const servers = server === "system" ? [] : [server];
const resolve = createResolve({ clock: systemClock, servers: () => servers, hostsFile, timeoutMs: 4000 });
const results: unknown[] = [];
for (const name of names) {
  const srv = name.startsWith("srv:");
  const startedAt = performance.now();
  try {
    const { endpoints, ttlMs } = await resolve({ name: srv ? name.slice(4) : name, srv });
    results.push({ endpoints, ttlMs });
  } catch (error) {
    results.push({ code: (error as { code?: unknown }).code, ms: Math.round(performance.now() - startedAt) });
  }
}
process.stdout.write(JSON.stringify(results));
