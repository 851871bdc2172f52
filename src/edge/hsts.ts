/** Strict-Transport-Security (RFC 6797) in every answer of a host. */
import type { App } from "./routes.ts";

const NAME = "Strict-Transport-Security";

/** An app's own field stays. */
export function withHsts(app: App, value: string | undefined): App {
  if (value === undefined) return app;
  const add = (response: Response): Response => {
    if (response.headers.has(NAME)) return response;
    try {
      response.headers.set(NAME, value);
      return response;
    } catch {
      // What fetch() gives has headers that cannot be changed.
      const copy = new Response(response.body, response);
      copy.headers.set(NAME, value);
      return copy;
    }
  };
  return {
    fetch(request) {
      const answer = app.fetch(request);
      return answer instanceof Promise ? answer.then(add) : add(answer);
    },
  };
}
