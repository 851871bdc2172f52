/** Where an edge and its servers are, and what it tells of that. */
import { hostname } from "node:os";
import { z } from "zod";
import { describeValue } from "./problems.ts";

export interface LocationInput {
  /**
   * This edge's name, for people who look at a fleet: where several run on one machine, give each its own.
   * @default SKERRY_NAME in the environment, else the machine's name
   */
  name?: string;
  /**
   * Where this edge runs, for logs and metrics; said here or in SKERRY_LOCATION, servers there
   * are preferred.
   * @default SKERRY_LOCATION, FLY_REGION or RAILWAY_REPLICA_REGION in the environment, else the machine's name
   */
  location?: string;
  /** Whether answers carry `Skerry-Location`, so that visitors see which edge it was. @default false */
  locationHeader?: boolean;
  /** This edge's name in the Via field of forwarded requests. @default "skerry", and the location where one is said */
  via?: string;
}

export interface LocationConfig {
  readonly name: string;
  readonly location: string;
  /** `location` where somebody said it; nothing can be near a machine's name. */
  readonly place: string | undefined;
  readonly locationHeader: boolean;
  readonly via: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Of an edge or a server; it may stand in a header field. */
export const locationName: z.ZodType = z
  .string()
  .min(1)
  .max(63)
  .regex(/^([!-~]([ -~]*[!-~])?)?$/, {
    error: ({ input }) => `must be printable ASCII without spaces around it, got ${describeValue(input)}`,
  });

/** What is wrong with a location that came another way than by the config. */
export function locationProblem(value: unknown): string | undefined {
  const { error } = locationName.safeParse(value, { reportInput: true });
  return (
    error && `must be 1 to 63 characters of ASCII without spaces around them, got ${describeValue(value)}`
  );
}

export const locationShape: Record<keyof LocationInput, z.ZodType> = {
  name: locationName.optional(),
  location: locationName.optional(),
  locationHeader: z.boolean().optional(),
  via: z
    .string()
    .max(100)
    .regex(/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/, {
      error: ({ input }) => `must be a name of letters, digits and "-", got ${describeValue(input)}`,
    })
    .optional(),
};

/** With its defaults. */
export function fillLocation(input: LocationInput, env: Environment): LocationConfig {
  const said = [input.location, env.SKERRY_LOCATION, env.FLY_REGION, env.RAILWAY_REPLICA_REGION].find(
    (one) => one,
  );
  const place = said === undefined ? undefined : printable(said);
  return {
    name: printable(input.name || env.SKERRY_NAME || hostname() || "local"),
    location: place ?? (hostname() || "local"),
    place,
    locationHeader: input.locationHeader ?? false,
    via: input.via ?? (place === undefined ? "skerry" : `skerry-${place.replace(/[^\w.-]+/g, "-")}`),
  };
}

const printable = (text: string): string => text.slice(0, 63).replace(/[^\x20-\x7e]/g, "?");
