import { hostname } from "node:os";
import { describe, expect, test } from "vitest";
import { editDynamic, NOTHING_DYNAMIC } from "../../src/config/dynamic.ts";
import { decodeDynamic, encodeDynamic } from "../../src/config/dynamic-text.ts";
import { fillLocation } from "../../src/config/location.ts";
import { backendRows, createMerger } from "../../src/config/merge.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import type { EdgeError } from "../../src/errors.ts";
import { good } from "./malformed.ts";

describe("where the edge is", () => {
  test.each([
    [{ location: "yvr" }, { SKERRY_LOCATION: "fra", FLY_REGION: "sea" }, "yvr"],
    [{}, { SKERRY_LOCATION: "fra", FLY_REGION: "sea" }, "fra"],
    [{}, { SKERRY_LOCATION: "", FLY_REGION: "sea" }, "sea"],
    [{}, { RAILWAY_REPLICA_REGION: "us-west2" }, "us-west2"],
  ])("%j with %j is %s", (input, env, place) => {
    expect(fillLocation(input, env)).toMatchObject({ location: place, place, via: `skerry-${place}` });
  });

  test("is the machine's name otherwise, by which nothing is near or far", () => {
    const { location, place, via, locationHeader } = fillLocation({}, {});
    expect(location).not.toBe("");
    expect([place, via, locationHeader]).toEqual([undefined, "skerry", false]);
  });

  test("has a name: its own, that of the environment, or the machine's", () => {
    expect(fillLocation({ name: "left" }, { SKERRY_NAME: "right" }).name).toBe("left");
    expect(fillLocation({}, { SKERRY_NAME: "right" }).name).toBe("right");
    expect(fillLocation({}, {}).name).toBe(hostname());
  });

  test("makes a name for Via that a header may hold, unless one is given", () => {
    expect(fillLocation({ location: "Rack 7 (left)" }, {}).via).toBe("skerry-Rack-7-left-");
    expect(fillLocation({ location: "yvr", via: "edge-7" }, {}).via).toBe("edge-7");
  });
});

test("a server's location is kept beside its weight", () => {
  const { backends } = resolveConfig({
    ...good,
    backends: {
      web: { servers: ["http://10.0.0.1", { url: "http://10.0.0.2", weight: 2, location: "fra" }] },
    },
  });
  const [plain, far] = backends.get("web")!.servers;
  expect(plain).not.toHaveProperty("location");
  expect(far).toMatchObject({ weight: 2, location: "fra" });
});

test.each([
  [{ location: "" }, "location: must not be empty"],
  [{ location: "a\nb" }, /^location: must be printable ASCII/],
  [{ via: "two words" }, /^via: must be a name of letters/],
  [{ locationHeader: "yes" }, /^locationHeader: expected true or false/],
])("%j is refused with its path", (wrong, message) => {
  let said = "";
  try {
    resolveConfig({ ...good, ...wrong });
  } catch (error) {
    said = (error as EdgeError).message;
  }
  if (typeof message === "string") expect(said).toBe(message);
  else expect(said).toMatch(message);
});

describe("a server that is added while edges run", () => {
  const base = resolveConfig(good);
  const add = (location: string, state = NOTHING_DYNAMIC) =>
    editDynamic(state, { kind: "add-server", backend: "web", url: "http://10.0.0.9", location }, base);

  test("keeps its location in storage and in the config that edges run on", () => {
    const { state, said } = add("fra");
    expect(said).toContain("in fra");
    const stored = decodeDynamic(encodeDynamic(state!), "dynamic");
    expect(stored.servers).toEqual(
      new Map([["web", [{ url: "http://10.0.0.9", weight: 1, location: "fra" }]]]),
    );
    const { config, notes } = createMerger()(base, stored);
    expect(config.backends.get("web")!.servers.at(-1)).toMatchObject({ location: "fra", source: "dynamic" });
    const row = backendRows(config, stored, notes).find(({ name }) => name === "web");
    expect(row!.servers.at(-1)).toMatchObject({ url: "http://10.0.0.9", location: "fra" });
  });

  test("may move, and staying where it is changes nothing", () => {
    const { state } = add("fra");
    expect(add("fra", state!).state).toBeUndefined();
    expect(add("yvr", state!).state!.servers.get("web")).toMatchObject([{ location: "yvr" }]);
  });

  test("is refused with a location that no header may hold", () => {
    expect(() => add("a\nb")).toThrow(/^backends\.web\.servers\.location: must be 1 to 63 characters/);
  });
});
