/** SETTINGS (RFC 9113 §6.5.2, RFC 8441 §3): what a peer may not announce. */
import { FLOW_CONTROL_ERROR, PROTOCOL_ERROR } from "./errors.ts";
import {
  MAX_FRAME_BYTES,
  MAX_WINDOW,
  SETTINGS_ENABLE_CONNECT_PROTOCOL,
  SETTINGS_ENABLE_PUSH,
  SETTINGS_INITIAL_WINDOW_SIZE,
  SETTINGS_MAX_FRAME_SIZE,
} from "./frames.ts";

/** The error code and words for a value out of range; undefined for a good one and for unknown settings. */
export function settingFault(
  id: number,
  value: number,
): readonly [code: number, message: string] | undefined {
  switch (id) {
    case SETTINGS_ENABLE_PUSH:
      return value > 1 ? [PROTOCOL_ERROR, "ENABLE_PUSH is not 0 or 1"] : undefined;
    case SETTINGS_ENABLE_CONNECT_PROTOCOL:
      return value > 1 ? [PROTOCOL_ERROR, "ENABLE_CONNECT_PROTOCOL is not 0 or 1"] : undefined;
    case SETTINGS_INITIAL_WINDOW_SIZE:
      return value > MAX_WINDOW ? [FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE too large"] : undefined;
    case SETTINGS_MAX_FRAME_SIZE:
      return value < MAX_FRAME_BYTES || value > 0xffffff
        ? [PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range"]
        : undefined;
    default:
      return undefined;
  }
}
