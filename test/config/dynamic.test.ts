/** Hosts and servers that are added by command: what is refused and in which words, and how they fit into a config. */
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import {
  type DynamicBase,
  type DynamicEdit,
  type DynamicState,
  editDynamic,
  NOTHING_DYNAMIC,
} from "../../src/config/dynamic.ts";
import { decodeDynamic, encodeDynamic } from "../../src/config/dynamic-text.ts";
import { backendRows, createMerger, hostRows } from "../../src/config/merge.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { EdgeError } from "../../src/errors.ts";

const acme = { email: "ops@example.com", agreeToTerms: true };
const written = {
  acme,
  backends: {
    web: {
      servers: ["http://10.0.0.5:8000", { url: "unix:/run/web.sock", weight: 3 }],
      connectTimeoutMs: 77,
    },
    api: { servers: ["http://10.0.0.9"] },
  },
  hosts: { "app.example.com": { backend: "web" } },
};
const base = resolveConfig(written);

function stateAfter(...edits: readonly DynamicEdit[]): DynamicState {
  return edits.reduce((state, edit) => editDynamic(state, edit, base).state ?? state, NOTHING_DYNAMIC);
}

const host = (name: string, backend = "web", replace = false): DynamicEdit => ({
  kind: "add-host",
  host: name,
  backend,
  replace,
});
const server = (backend: string, url: string, weight?: number): DynamicEdit => ({
  kind: "add-server",
  backend,
  url,
  ...(weight !== undefined && { weight }),
});

function refusal(edit: DynamicEdit, state = NOTHING_DYNAMIC, on: DynamicBase = base): EdgeError {
  try {
    editDynamic(state, edit, on);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(EdgeError);
    return thrown as EdgeError;
  }
  throw new Error("it was not refused");
}

describe("an added host", () => {
  test("has its name as certificates carry it, and counts as a change", () => {
    const { state, said } = editDynamic(NOTHING_DYNAMIC, host("Shop.Example.COM."), base);
    expect(state).toEqual({
      generation: 1,
      hosts: new Map([["shop.example.com", "web"]]),
      servers: new Map(),
    });
    expect(said).toBe("shop.example.com is served from web");
  });

  /** The config's own words: each is what `skerry check` says of the same host. */
  test.each([
    ["https://shop.example.com", "web"],
    ["192.0.2.7", "web"],
    ["shop.example.com:443", "web"],
    ["shop_example.com", "web"],
    ["*.com", "web"],
    ["*.shop.example.com", "web"],
    ["shop.example.com", "wep"],
    ["shop.example.com", ""],
    ["shop.localhost", "web"],
    ["shop.example.com", "__proto__"],
  ])("%s from %j is refused as the config would be", (name, backend) => {
    let inConfig = "";
    try {
      const hosts = Object.fromEntries([[name, { backend }]]);
      resolveConfig({ ...written, hosts });
    } catch (thrown) {
      inConfig = (thrown as EdgeError).message;
    }
    const { code, status, message } = refusal(host(name, backend));
    expect({ code, status }).toEqual({ code: "CONFIG_INVALID", status: 400 });
    expect(message).toBe(inConfig);
    expect(message).toMatch(/^hosts/);
  });

  test("has a name that is one, whatever JavaScript makes of it", () => {
    expect(refusal(host("__proto__")).message).toBe("hosts.__proto__: not a host name");
  });

  test("needs somebody who signs its certificate", () => {
    const own = resolveConfig({ ...written, acme: undefined }, { certificates: "local" });
    expect(refusal(host("shop.example.com"), NOTHING_DYNAMIC, own).message).toContain(
      'acme: missing, but "shop.example.com" has no tls of its own',
    );
    expect(
      editDynamic(NOTHING_DYNAMIC, host("shop.example.com"), { ...own, byAcme: false }).state,
    ).toBeDefined();
  });

  test("of the config cannot be added or removed", () => {
    const added = refusal(host("app.example.com", "api", true));
    expect(added.message).toBe("app.example.com is in the config file, which wins: change it there");
    const removed = refusal({ kind: "remove-host", host: "app.example.com" });
    expect(removed.message).toBe("app.example.com is in the config file: remove it there, and reload");
    expect([added.status, removed.status]).toEqual([409, 409]);
  });

  test("that is there already is no change; another backend takes a word more", () => {
    const state = stateAfter(host("shop.example.com"));
    expect(editDynamic(state, host("shop.example.com"), base)).toEqual({
      state: undefined,
      said: "shop.example.com was served from web already",
    });
    expect(refusal(host("shop.example.com", "api"), state).message).toContain(
      "served from web already: remove it first",
    );
    const moved = editDynamic(state, host("shop.example.com", "api", true), base);
    expect(moved.state?.hosts.get("shop.example.com")).toBe("api");
    expect(moved.state?.generation).toBe(2);
  });

  test("may be removed, and what was never there is said to be so", () => {
    const state = stateAfter(host("shop.example.com"), { kind: "remove-host", host: "SHOP.example.com" });
    expect(state).toEqual({ ...NOTHING_DYNAMIC, generation: 2 });
    const { status, message } = refusal({ kind: "remove-host", host: "shop.example.com" }, state);
    expect(status).toBe(404);
    expect(message).toBe('no host "shop.example.com" was added');
    expect(refusal({ kind: "remove-host", host: "not a name" }).code).toBe("CONFIG_INVALID");
  });
});

describe("an added server", () => {
  test.each([
    ["http://10.0.0.7/path", /^backends\.web\.servers: a server's URL takes no path or query/],
    ["10.0.0.7:8000", /^backends\.web\.servers: not a URL: .*; did you mean "http:\/\/10\.0\.0\.7:8000"\?$/],
    ["ftp://10.0.0.7", /^backends\.web\.servers: protocol "ftp" is none of http/],
    ["unix:app.sock", /^backends\.web\.servers: must be an absolute path/],
    ["http://u:secret@10.0.0.7", /takes no user name or password/],
  ])("%s is refused", (url, message) => {
    const error = refusal(server("web", url));
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain("secret");
    expect(error.status).toBe(400);
  });

  test("has a weight within bounds and a backend with a name", () => {
    expect(refusal(server("web", "http://10.0.0.7", 0)).message).toMatch(
      /weight: must be a whole number from 1 to 1000/,
    );
    expect(refusal(server("web", "http://10.0.0.7", 1.5)).status).toBe(400);
    expect(refusal(server("bad name", "http://10.0.0.7")).message).toMatch(
      /^backends\["bad name"\]: a backend's name is/,
    );
  });

  test("that the config has, however it is written, cannot be added or removed", () => {
    for (const url of ["http://10.0.0.5:8000", "h2c://10.0.0.5:8000/", "unix:/run/web.sock"])
      expect(refusal(server("web", url)).message).toContain("from the config file, which wins");
    const removed = refusal({ kind: "remove-server", backend: "web", url: "http://10.0.0.5:8000" });
    expect(removed.message).toContain("from the config file: remove it there, and reload");
  });

  test("begins a backend, which ends with its last one, but not while a host is served from it", () => {
    const began = editDynamic(NOTHING_DYNAMIC, server("new", "http://10.0.0.7"), base);
    expect(began.said).toBe("new backend new has http://10.0.0.7");
    const state = stateAfter(server("new", "http://10.0.0.7"), host("shop.example.com", "new"));
    const removal: DynamicEdit = { kind: "remove-server", backend: "new", url: "http://10.0.0.7:80" };
    expect(refusal(removal, state).message).toBe(
      "http://10.0.0.7:80 is the last server of new, which shop.example.com is served from: add another server, or remove that host first",
    );
    const free = editDynamic(state, { kind: "remove-host", host: "shop.example.com" }, base).state!;
    const gone = editDynamic(free, removal, base);
    expect(gone.said).toContain("backend new is gone with it");
    expect(gone.state?.servers.size).toBe(0);
    expect(refusal(removal, gone.state!).message).toBe('no backend "new"; known are web, api');
  });

  test("changes its weight where it stands", () => {
    const state = stateAfter(server("web", "http://10.0.0.7"), server("web", "http://10.0.0.8"));
    const again = editDynamic(state, server("web", "http://10.0.0.7", 5), base).state!;
    expect(again.servers.get("web")).toEqual([
      { url: "http://10.0.0.7", weight: 5 },
      { url: "http://10.0.0.8", weight: 1 },
    ]);
    expect(editDynamic(again, server("web", "http://10.0.0.7", 5), base).state).toBeUndefined();
  });

  test("that is not there cannot be removed", () => {
    const { status, message } = refusal(
      { kind: "remove-server", backend: "web", url: "http://10.0.0.8" },
      stateAfter(server("web", "http://10.0.0.7")),
    );
    expect(status).toBe(404);
    expect(message).toBe(
      'backend web has no server "http://10.0.0.8"; those that were added: http://10.0.0.7',
    );
  });
});

describe("a config with what was added", () => {
  const state = stateAfter(
    server("web", "http://10.0.0.7", 2),
    server("new", "https://10.0.0.8"),
    host("shop.example.com", "new"),
    host("blog.example.com"),
  );

  test("has both, each with its source, and the backend's own settings for its added servers", () => {
    const { config, notes } = createMerger()(base, state);
    expect(notes).toEqual([]);
    expect(hostRows(config, state, notes)).toEqual([
      { host: "app.example.com", backend: "web", source: "config" },
      { host: "shop.example.com", backend: "new", source: "dynamic" },
      { host: "blog.example.com", backend: "web", source: "dynamic" },
    ]);
    const web = config.backends.get("web");
    expect(web?.connectTimeoutMs).toBe(77);
    expect(web?.servers.map(({ id, weight, source }) => [id, weight, source])).toEqual([
      ["http://10.0.0.5:8000", 1, undefined],
      ["unix:/run/web.sock", 3, undefined],
      ["http://10.0.0.7", 2, "dynamic"],
    ]);
    expect(config.backends.get("new")).toMatchObject({ connectTimeoutMs: 1000, source: "dynamic" });
    expect(base.backends.get("web")?.servers.length).toBe(2);
  });

  test("keeps as the same object what did not change", () => {
    const merge = createMerger();
    const [one, two] = [merge(base, state).config, merge(base, stateAfter(host("x.example.com"))).config];
    expect(two.hosts.get("app.example.com")).toBe(one.hosts.get("app.example.com"));
    expect(two.backends.get("api")).toBe(one.backends.get("api"));
    const more = editDynamic(state, host("y.example.com"), base).state!;
    const [before, now] = [merge(base, state).config, merge(base, more).config];
    expect(now.backends.get("web")).toBe(before.backends.get("web"));
    expect(now.hosts.get("shop.example.com")).toBe(before.hosts.get("shop.example.com"));
  });

  test("a server whose stored weight no edge can use is left out, and the rest is served", () => {
    for (const weight of [0, -1, 1.5, 1e9, Number.POSITIVE_INFINITY]) {
      const servers = [
        { url: "http://10.0.0.7", weight },
        { url: "http://10.0.0.8", weight: 2 },
      ];
      const stored = { generation: 1, hosts: new Map(), servers: new Map([["fresh", servers]]) };
      const { config, notes } = createMerger()(base, stored);
      expect(config.backends.get("fresh")?.servers.map(({ id }) => id)).toEqual(["http://10.0.0.8"]);
      expect(notes).toMatchObject([{ kind: "invalid", name: "fresh http://10.0.0.7" }]);
    }
  });

  test("wins where it names the same host or server, and takes nothing away from the others", () => {
    const later = resolveConfig({
      ...written,
      backends: { ...written.backends, web: { servers: ["http://10.0.0.7"] } },
      hosts: { ...written.hosts, "shop.example.com": { backend: "api" } },
    });
    const { config, notes } = createMerger()(later, state);
    expect(config.hosts.get("shop.example.com")?.handler).toMatchObject({ backend: "api" });
    expect(config.backends.get("web")?.servers.length).toBe(1);
    expect(notes.map(({ kind, name }) => `${kind} ${name}`)).toEqual([
      "shadowed web http://10.0.0.7",
      "shadowed shop.example.com",
    ]);
    expect(hostRows(config, state, notes).at(-1)).toEqual({
      host: "shop.example.com",
      backend: "new",
      source: "dynamic",
      note: "not used: the config file names this host too, and wins",
    });
    expect(backendRows(config, state, notes)[0]?.servers.at(-1)?.note).toContain("not used");
    // It may still be removed, and says what is left.
    const removed = editDynamic(state, { kind: "remove-host", host: "shop.example.com" }, later);
    expect(removed.said).toContain("the config file names it too");
  });

  test("keeps a host whose backend is gone from the config, on a backend without servers", () => {
    const { web: _, ...backends } = written.backends;
    const less = resolveConfig({ ...written, backends, hosts: { "app.example.com": { backend: "api" } } });
    const { config, notes } = createMerger()(less, stateAfter(host("blog.example.com")));
    expect(notes).toMatchObject([{ kind: "no-backend", name: "blog.example.com" }]);
    expect(config.hosts.has("blog.example.com")).toBe(true);
    expect(config.backends.get("web")?.servers).toEqual([]);
  });

  test("passes over what is malformed in storage, with a note", () => {
    const broken: DynamicState = {
      generation: 1,
      hosts: new Map([
        ["not a name", "web"],
        ["UPPER.example.com", "web"],
      ]),
      servers: new Map([["web", [{ url: "nonsense", weight: 1 }]]]),
    };
    const { config, notes } = createMerger()(base, broken);
    expect(config.hosts.size).toBe(1);
    expect(config.backends.get("web")?.servers.length).toBe(2);
    expect(notes.map(({ kind }) => kind)).toEqual(["invalid", "invalid", "invalid"]);
  });
});

describe("what is stored", () => {
  test("is read as it was written, and nothing is nothing", () => {
    const state = stateAfter(host("shop.example.com"), server("web", "http://10.0.0.7", 2));
    expect(decodeDynamic(encodeDynamic(state), "key")).toEqual(state);
    expect(decodeDynamic(undefined, "key")).toEqual(NOTHING_DYNAMIC);
  });

  describe("by a newer version", () => {
    const newer = {
      format: 1,
      generation: 8,
      regions: { yvr: ["a"] },
      hosts: { "old.example.com": "web", "new.example.com": { backend: "web", use: ["cache"] } },
      servers: {
        web: [
          { url: "http://10.0.0.7", weight: 2, drain: true },
          { url: "http://10.0.0.8", weight: { from: 1, to: 5 } },
        ],
        next: [{ url: "http://10.0.0.9", weight: 1, location: 7 }],
      },
    };
    const stored = (state: DynamicState): unknown => JSON.parse(Buffer.from(encodeDynamic(state)).toString());
    const read = (): DynamicState => decodeDynamic(Buffer.from(JSON.stringify(newer)), "key");

    test("counts as far as it can be read, and the rest is told with the record and the field", () => {
      const { config, notes } = createMerger()(base, read());
      expect(config.hosts.has("old.example.com")).toBe(true);
      expect(config.hosts.has("new.example.com")).toBe(false);
      expect(config.backends.get("web")?.servers.map(({ id }) => id)).toContain("http://10.0.0.7");
      expect(notes.map(({ kind, name, message }) => `${kind} ${name}: ${message.split(";")[0]}`)).toEqual([
        "invalid new.example.com: its backend is an object, not a name",
        "invalid web http://10.0.0.8: its weight is an object, not a number",
        "invalid next http://10.0.0.9: its location must be 1 to 63 characters of ASCII without spaces around them, got 7",
      ]);
      expect(hostRows(config, read(), notes)).toContainEqual({
        host: "new.example.com",
        backend: null,
        source: "dynamic",
        note: expect.stringContaining("not used: its backend is an object"),
      });
    });

    test("stays as it is when this version changes something else, and what it changes too", () => {
      const edits = [
        server("web", "http://10.0.0.7", 3),
        server("web", "http://10.0.0.5:1"),
        host("x.example.com"),
      ];
      const state = edits.reduce((now, edit) => editDynamic(now, edit, base).state ?? now, read());
      expect(stored(state)).toEqual({
        ...newer,
        generation: 11,
        hosts: { ...newer.hosts, "x.example.com": "web" },
        servers: {
          ...newer.servers,
          web: [
            { url: "http://10.0.0.7", weight: 3, drain: true },
            { url: "http://10.0.0.5:1", weight: 1 },
            newer.servers.web[1],
          ],
        },
      });
    });

    test("is not written over by accident, and can be removed", () => {
      expect(refusal(host("new.example.com"), read()).message).toContain("cannot read: upgrade it here");
      expect(refusal(server("web", "http://10.0.0.8"), read()).status).toBe(409);
      const edits: DynamicEdit[] = [
        host("new.example.com", "api", true),
        { kind: "remove-server", backend: "web", url: "http://10.0.0.8" },
        { kind: "remove-server", backend: "next", url: "http://10.0.0.9" },
      ];
      const state = edits.reduce((now, edit) => editDynamic(now, edit, base).state ?? now, read());
      expect(stored(state)).toEqual({
        ...{ ...newer, generation: 11, servers: { web: [newer.servers.web[0]] } },
        hosts: { "old.example.com": "web", "new.example.com": "api" },
      });
      const { state: without } = editDynamic(read(), { kind: "remove-host", host: "new.example.com" }, base);
      expect(stored(without!)).toMatchObject({ hosts: { "old.example.com": "web" } });
    });
  });

  test("fits into the megabyte of a NATS value with ten thousand hosts", () => {
    const hosts = new Map<string, string>();
    // Names that compress badly, as customers' own do.
    for (let index = 0; index < 10_000; index++)
      hosts.set(`${Math.sin(index).toString(36).slice(3)}.example.com`, `backend${index % 7}`);
    const state = { ...NOTHING_DYNAMIC, hosts };
    const bytes = encodeDynamic(state);
    expect(bytes.length).toBeLessThan(300_000);
    expect(decodeDynamic(bytes, "key")).toEqual(state);
  });

  test.each([
    ["no JSON", "{"],
    ["null", "null"],
    ["a later format", '{"format":2}'],
    ["fields of another shape", '{"format":1,"generation":"1","hosts":[],"servers":{}}'],
  ])("and is %s is told as corrupt", (_what, text) => {
    expect(() => decodeDynamic(new TextEncoder().encode(text), "dynamic/config")).toThrow(
      /^storage: dynamic\/config cannot be read: /,
    );
  });

  test("and is more than memory is for once it is unpacked is told as corrupt", () => {
    const bomb = gzipSync(Buffer.alloc(80 * 1024 * 1024, " "));
    // Blanks before a good value: without the bound it would be taken.
    const value = gzipSync(encodeDynamic(NOTHING_DYNAMIC));
    expect(() => decodeDynamic(Buffer.concat([bomb, value]), "dynamic/config")).toThrow(/cannot be read/);
  });
});
