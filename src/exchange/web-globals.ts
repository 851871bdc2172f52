/** Makes the lazy classes the ones that code on the edge gets by `new Response`, `new Request` and `fetch`. */
import { NativeRequest, nativeFetch } from "./web-native.ts";
import { inherit, isLazyRequest, takeBody } from "./web-request.ts";
import { EdgeResponse } from "./web-response.ts";
import { streamOf } from "./web-stream.ts";

const INIT_FIELDS = [
  "method",
  "headers",
  "redirect",
  "signal",
  "cache",
  "credentials",
  "integrity",
  "keepalive",
  "mode",
  "referrer",
  "referrerPolicy",
] as const;

/** An init that makes of `new Request(input.url, init)` what `new Request(input, init)` says. */
function initFrom(input: Request, init: RequestInit): RequestInit {
  const merged: Record<string, unknown> = {
    method: input.method,
    headers: input.headers,
    signal: input.signal,
  };
  for (const field of INIT_FIELDS) if (init[field] !== undefined) merged[`${field}`] = init[field];
  const mayHaveBody = merged.method !== "GET" && merged.method !== "HEAD";
  if (init.body !== undefined && init.body !== null) merged.body = init.body;
  else if (mayHaveBody) {
    const body = takeBody(input);
    if (body) merged.body = streamOf(body);
  }
  if (merged.body !== undefined) merged.duplex = "half";
  return merged;
}

/** `new Request(…)`, which also takes lazy requests. The result is a native request, of which ours is a subclass. */
const EdgeRequest: typeof Request = function Request(
  this: unknown,
  input: RequestInfo | URL,
  init?: RequestInit,
): Request {
  if (!new.target) throw new TypeError("Request is made with new");
  const target = new.target === (EdgeRequest as unknown) ? NativeRequest : new.target;
  const lazy = typeof input === "object" && input !== null && isLazyRequest(input);
  const given = lazy
    ? [(input as Request).url, initFrom(input as Request, init ?? {})]
    : init === undefined
      ? [input]
      : [input, init];
  const request = Reflect.construct(NativeRequest, given, target) as Request;
  inherit(request, input);
  return request;
} as unknown as typeof Request;

const edgeFetch = ((input: RequestInfo | URL, init?: RequestInit): Promise<Response> => {
  if (typeof input !== "object" || !isLazyRequest(input)) return nativeFetch(input, init);
  try {
    return nativeFetch(new EdgeRequest(input, init));
  } catch (error) {
    return Promise.reject(error);
  }
}) as typeof fetch;

/**
 * Replaces the global `Response`, `Request` and `fetch`. Idempotent.
 *
 * Why: Hono builds `new Response(this.res.body, this.res)` whenever a header is set on a finished answer. With the
 * native class that costs a web stream and a copy of the headers for every proxied request, and sends each byte through
 * that stream; with ours the answer stays a head and a byte source. Ours otherwise do what the native ones do, native
 * instances pass `instanceof`, and a lazy request can be given to `new Request` and `fetch`, which natively refuse it.
 * Classes that other libraries kept before this call go on working: {@link sendResponse} takes responses of any origin.
 */
export function installWebGlobals(): void {
  if (globalThis.Response === EdgeResponse) return;
  Object.defineProperty(EdgeResponse, "name", { value: "Response" });
  Object.defineProperty(EdgeResponse.prototype, "constructor", { value: EdgeResponse });
  Object.setPrototypeOf(EdgeRequest, NativeRequest);
  Object.defineProperty(EdgeRequest, "prototype", { value: NativeRequest.prototype });
  // Bun's fetch has members of its own.
  Object.setPrototypeOf(edgeFetch, nativeFetch);
  Object.assign(globalThis, { Response: EdgeResponse, Request: EdgeRequest, fetch: edgeFetch });
}
