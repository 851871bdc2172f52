/** Fields that the edge puts into every answer of a host. */
import type { App } from "./routes.ts";

/** Strict-Transport-Security (RFC 6797). An app's own field stays. */
export function withHsts(app: App, value: string | undefined): App {
  return withField(app, { name: "Strict-Transport-Security", value, keep: true });
}

/** `Skerry-Location`: which edge a visitor met. The one nearest to the visitor has the last word. */
export function withLocation(app: App, location: string | undefined): App {
  return withField(app, { name: "Skerry-Location", value: location, keep: false });
}

interface AnswerField {
  readonly name: string;
  /** Undefined: there is none, and the app is as it was. */
  readonly value: string | undefined;
  /** Whether the field stays that an answer has already. */
  readonly keep: boolean;
}

function withField(app: App, { name, value, keep }: AnswerField): App {
  if (value === undefined) return app;
  const add = (response: Response): Response => {
    if (keep && response.headers.has(name)) return response;
    try {
      response.headers.set(name, value);
      return response;
    } catch {
      // What fetch() gives has headers that cannot be changed.
      const copy = new Response(response.body, response);
      copy.headers.set(name, value);
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
