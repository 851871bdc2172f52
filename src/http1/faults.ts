/** How requests on a server connection fail. */
import { EdgeError } from "../errors.ts";
import type { HeadError } from "./head.ts";

/** To the reader of a request body whose request is answered. */
export function answeredEarly(): EdgeError {
  return new EdgeError("CLIENT_CLOSED", "the request was answered before its body was read");
}

export function clientClosed(): EdgeError {
  return new EdgeError("CLIENT_CLOSED", "the client closed the connection", {
    source: "downstream",
    status: 499,
  });
}

/** To those who handle a request that the engine refuses while it comes in. */
export function refused(error: HeadError, cause: unknown): EdgeError {
  return new EdgeError(error.status === 408 ? "CLIENT_TIMEOUT" : "BAD_REQUEST", error.message, {
    source: "downstream",
    status: error.status,
    cause,
  });
}
