/** What every part of the admin API that changes something has in common. */
import type { ErrorHandler, MiddlewareHandler } from "hono";
import { EdgeError } from "../errors.ts";

/** Refuses whatever comes from a web page: a page on this machine's browser must not change anything. */
export const refusePages: MiddlewareHandler = async (c, next) => {
  if (c.req.method === "GET" || c.req.method === "HEAD") return next();
  if (c.req.header("origin") !== undefined || c.req.header("sec-fetch-site") !== undefined)
    return c.json({ code: "BAD_REQUEST", message: "not for web pages" }, 403);
  if (c.req.method === "POST" && !c.req.header("content-type")?.startsWith("application/json"))
    return c.json({ code: "BAD_REQUEST", message: "takes application/json" }, 415);
  return next();
};

export const answerError: ErrorHandler = (thrown, c) => {
  if (!(thrown instanceof EdgeError)) throw thrown;
  return c.json({ code: thrown.code, message: thrown.message }, thrown.status as 409);
};

/** The body, which must be a JSON object. */
export async function bodyOf(request: Request): Promise<Record<string, unknown>> {
  try {
    const value: unknown = await request.json();
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw badRequest("the body is no JSON object");
}

export function badRequest(message: string): EdgeError {
  return new EdgeError("BAD_REQUEST", message, { source: "operator", status: 400 });
}
