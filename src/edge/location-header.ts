/** `Skerry-Location` in every answer of a host: which edge a visitor met. */
import type { App } from "./routes.ts";

const NAME = "Skerry-Location";

/** @param location undefined where nothing is to be told */
export function withLocation(app: App, location: string | undefined): App {
  if (location === undefined) return app;
  const add = (response: Response): Response => {
    try {
      // The edge nearest to the visitor has the last word.
      response.headers.set(NAME, location);
      return response;
    } catch {
      // What fetch() gives has headers that cannot be changed.
      const copy = new Response(response.body, response);
      copy.headers.set(NAME, location);
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
