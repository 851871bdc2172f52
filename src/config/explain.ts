/** What the schema finds wrong, said in our words and with names that were probably meant. */
import { z } from "zod";
import { describeValue, type Problem, suggestion } from "./problems.ts";
import { configSchema, NOT_OF_THE_KIND, type ParsedConfig } from "./schema.ts";

/** Reads the shape alone; cross checks and defaults are `resolve.ts`. */
export function parseShape(input: unknown): { value: ParsedConfig } | { problems: Problem[] } {
  const result = configSchema.safeParse(input, { reportInput: true });
  if (result.success) return { value: result.data as ParsedConfig };
  return { problems: result.error.issues.flatMap((issue) => explain(issue, [])) };
}

type Issue = z.core.$ZodIssue;

function explain(issue: Issue, base: readonly PropertyKey[]): Problem[] {
  const path = [...base, ...issue.path];
  const one = (message: string): Problem[] => [{ path, message }];
  switch (issue.code) {
    case "invalid_union": {
      // The branch that got furthest is the one that was meant.
      const meant = issue.errors.find((branch) => !branch.some(isWrongKind));
      if (meant) return meant.flatMap((inner) => explain(inner, path));
      // A field that tells the branches apart names none of them: the whole is what was expected otherwise.
      if (issue.errors.length === 0) return explainWhole(path.slice(0, -1));
      return one(`expected ${alternatives(path)}, got ${describeValue(issue.input)}`);
    }
    case "invalid_key":
      return issue.issues.map(({ message }) => ({ path, message }));
    case "unrecognized_keys":
      return issue.keys.map((key) => ({
        path: [...path, key],
        message: `unknown field${suggestion(key, fieldsAt(path))}`,
      }));
    case "invalid_type":
      if (issue.message.startsWith("must be ")) return one(issue.message);
      if (issue.input === undefined) return one("missing");
      return one(`expected ${EXPECTED[issue.expected] ?? issue.expected}, got ${describeValue(issue.input)}`);
    case "invalid_value":
      return one(
        `expected one of ${issue.values.map((value) => JSON.stringify(value)).join(", ")}; got ${describeValue(issue.input)}`,
      );
    case "too_small":
      return one(issue.origin === "string" ? "must not be empty" : issue.message);
    case "too_big":
      return one(issue.origin === "string" ? `must be at most ${issue.maximum} characters` : issue.message);
    default:
      return one(issue.message);
  }
}

function explainWhole(path: readonly PropertyKey[]): Problem[] {
  return [{ path, message: `expected ${alternatives(path)}` }];
}

/** Whether a branch of a union was left at its door. */
function isWrongKind({ path, code, message }: Issue): boolean {
  return path.length === 0 && (code === "invalid_type" || message === NOT_OF_THE_KIND);
}

const EXPECTED: Record<string, string> = {
  string: "a string",
  boolean: "true or false",
  array: "an array",
  object: "an object",
  record: "an object",
};

function alternatives([top]: readonly PropertyKey[]): string {
  if (top === "hosts") return "{ backend }, { app } or a Hono app";
  if (top === "storage") return '"file:FOLDER", "nats://host:port" or { nats: { servers } }';
  if (top === "acme") return '{ provider: "rfc2136" }, { provider: "cloudflare" } or { present, remove }';
  return "a URL or { url, weight, location }";
}

/** The fields of the object at a path, found by walking the schema. */
function fieldsAt(path: readonly PropertyKey[]): string[] {
  let at: z.core.$ZodType[] = [configSchema];
  for (const key of path) at = at.flatMap(unwrap).flatMap((type) => step(type, key));
  return at.flatMap(unwrap).flatMap((type) => (type instanceof z.ZodObject ? Object.keys(type.shape) : []));
}

function unwrap(type: z.core.$ZodType): z.core.$ZodType[] {
  if (type instanceof z.ZodOptional) return unwrap(type.unwrap());
  if (type instanceof z.ZodUnion) return type.options.flatMap(unwrap);
  return [type];
}

function step(type: z.core.$ZodType, key: PropertyKey): z.core.$ZodType[] {
  if (type instanceof z.ZodObject) return type.shape[String(key)] ? [type.shape[String(key)]] : [];
  if (type instanceof z.ZodRecord) return [type.valueType];
  if (type instanceof z.ZodArray) return [type.element];
  return [];
}
