import { describe, expect, test } from "vitest";
import { fillLocation } from "../../src/config/location.ts";
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
