/** What an error tells of the server that it happened with. */
import type { EdgeError } from "../errors.ts";
import type { Outcome } from "../upstream/ejection.ts";

export function outcomeOf(error: EdgeError): Outcome {
  switch (error.code) {
    case "UPSTREAM_CONNECT":
      return "unreachable";
    case "UPSTREAM_REFUSED":
      return "declined";
    case "UPSTREAM_RESET":
    case "UPSTREAM_PROTOCOL":
    case "UPSTREAM_TIMEOUT":
      return "broken";
    default:
      // The client's doing, or ours.
      return "abandoned";
  }
}
