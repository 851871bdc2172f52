import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { type Bundle, bundleOf } from "../../src/tls/bundle.ts";
import { createLocalCa } from "../../src/tls/local-ca.ts";
import { createPlaceholder } from "../../src/tls/placeholder.ts";
import { createResolver } from "../../src/tls/resolver.ts";
import { servedOver } from "./handshake.ts";

const ca = await createLocalCa(systemClock);

async function bundle(host: string, generation: number): Promise<Bundle> {
  return bundleOf(await ca.issueFor([host]), { host, issuer: "local", generation, obtainedAt: 0 }, "test");
}

describe("the resolver", () => {
  test("gives a configured name its certificate, whatever its case and trailing dot, and no other name any", async () => {
    const resolver = createResolver();
    resolver.configure(["a.example.test"]);
    expect(resolver.set("a.example.test", await bundle("a.example.test", 1))).toBe(true);
    const context = resolver.secureContext("a.example.test");
    expect(context).toBeDefined();
    expect(resolver.secureContext("A.Example.TEST")).toBe(context);
    expect(resolver.secureContext("a.example.test.")).toBe(context);
    for (const name of [
      "",
      ".",
      "b.example.test",
      "example.test",
      "x.a.example.test",
      "a.example.test..",
      "__proto__",
    ]) {
      expect(resolver.secureContext(name), name).toBeUndefined();
    }
  });

  test("refuses a bundle for a name that is not configured", async () => {
    const resolver = createResolver();
    expect(resolver.set("a.example.test", await bundle("a.example.test", 1))).toBe(false);
    expect(resolver.secureContext("a.example.test")).toBeUndefined();
  });

  test("generations only rise, until the host's certificates come from elsewhere", async () => {
    const resolver = createResolver();
    resolver.configure(["a.example.test"]);
    const [one, two] = [await bundle("a.example.test", 1), await bundle("a.example.test", 2)];
    expect(resolver.set("a.example.test", two)).toBe(true);
    expect(resolver.set("a.example.test", one)).toBe(false);
    expect(resolver.set("a.example.test", two)).toBe(false);
    expect(resolver.bundle("a.example.test")).toBe(two);
    resolver.restart("a.example.test");
    expect(resolver.bundle("a.example.test")).toBe(two);
    expect(resolver.set("a.example.test", one)).toBe(true);
    expect(resolver.set("a.example.test", one)).toBe(false);
  });

  test("counts every change of what is served, and nothing else", async () => {
    const resolver = createResolver();
    const one = await bundle("a.example.test", 1);
    const seen: number[] = [];
    const steps: (() => unknown)[] = [
      () => resolver.configure(["a.example.test"]),
      () => resolver.set("a.example.test", one),
      () => resolver.add("b.example.test"),
      () => resolver.remove("b.example.test"),
    ];
    for (const step of steps) {
      step();
      seen.push(resolver.revision);
    }
    expect(seen).toEqual([...new Set(seen)].sort((x, y) => x - y));
    resolver.set("a.example.test", one);
    resolver.secureContext("a.example.test");
    expect(resolver.revision).toBe(seen.at(-1));
    expect([...resolver.served()]).toEqual([["a.example.test", one]]);
  });

  test("keeps the certificate in use when TLS refuses the next", async () => {
    const resolver = createResolver();
    resolver.configure(["a.example.test"]);
    const one = await bundle("a.example.test", 1);
    resolver.set("a.example.test", one);
    const broken = { ...(await bundle("a.example.test", 2)), key: "rubbish" };
    expect(() => resolver.set("a.example.test", broken)).toThrow(
      expect.objectContaining({ code: "CERTIFICATE_INVALID" }),
    );
    expect(resolver.bundle("a.example.test")).toBe(one);
    expect((await servedOver(resolver, "a.example.test"))?.subjectAltName).toBe("DNS:a.example.test");
  });

  test("a new certificate is served from the next handshake on", async () => {
    const resolver = createResolver();
    resolver.configure(["a.example.test"]);
    const serials: (string | undefined)[] = [];
    for (const generation of [1, 2, 3]) {
      resolver.set("a.example.test", await bundle("a.example.test", generation));
      serials.push((await servedOver(resolver, "a.example.test"))?.serialNumber);
    }
    expect(new Set(serials).size).toBe(3);
    expect(serials).not.toContain(undefined);
  });

  test("a configured name without a certificate gets the placeholder, once it is made", async () => {
    const resolver = createResolver();
    resolver.configure(["a.example.test"]);
    expect(resolver.secureContext("a.example.test")).toBeUndefined();
    resolver.setPlaceholder(await createPlaceholder(systemClock));
    expect(resolver.secureContext("a.example.test")).toBe(resolver.placeholderContext());
    expect(resolver.secureContext("b.example.test")).toBeUndefined();
    expect((await servedOver(resolver, "a.example.test"))?.subjectAltName).toBe("DNS:placeholder.invalid");
  });

  test("names that are configured no more are refused; the others stay as they are", async () => {
    const resolver = createResolver();
    resolver.configure(["a.example.test", "b.example.test"]);
    for (const host of ["a.example.test", "b.example.test"]) resolver.set(host, await bundle(host, 1));
    const kept = resolver.secureContext("b.example.test");
    resolver.configure(["b.example.test", "c.example.test"]);
    expect(resolver.secureContext("a.example.test")).toBeUndefined();
    expect(resolver.secureContext("b.example.test")).toBe(kept);
  });

  test("serves more names than it keeps contexts for", async () => {
    const resolver = createResolver({ maxContexts: 2 });
    const hosts = Array.from({ length: 6 }, (_, index) => `h${index}.example.test`);
    resolver.configure(hosts);
    for (const host of hosts) resolver.set(host, await bundle(host, 1));
    for (const host of hosts) expect((await servedOver(resolver, host))?.subjectAltName).toBe(`DNS:${host}`);
  });
});
