/** A log for a person at a terminal: short lines instead of JSON, one per request, and whatever goes wrong. */
import type { Clock } from "../clock.ts";
import type { Log, LogFields, LogLevel } from "../log.ts";

/** The event that the edge logs for each request. */
const REQUEST = "request";

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

export interface HumanLogOptions {
  clock: Clock;
  write: (line: string) => void;
  /** Short names for servers. @default none */
  names?: ReadonlyMap<string, string>;
  /** Events that begin so are nobody's news here. @default none */
  without?: string;
  /** The least level that is written. @default "info" */
  least?: LogLevel;
}

export function humanLog({ clock, write, names = new Map(), without, least = "info" }: HumanLogOptions): Log {
  // What happens while the edge is put together and taken apart is told by the command itself.
  let running = false;
  const at =
    (level: LogLevel) =>
    (event: string, fields: LogFields = {}): void => {
      const quiet = !running && event !== REQUEST && (level === "info" || level === "debug");
      if (event === "edge.ready") running = true;
      if (event === "process.stopping") running = false;
      if (without !== undefined && event.startsWith(without)) return;
      if (quiet || event === "process.stopping" || LEVELS.indexOf(level) < LEVELS.indexOf(least)) return;
      const time = new Date(clock.wall()).toTimeString().slice(0, 8);
      const text = event === REQUEST ? requestLine(fields, names) : eventLine(level, event, fields);
      write(`${time} ${text}\n`);
    };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error"), flush() {} };
}

/** `GET localhost/path 200 3.1 ms → statler` */
function requestLine(fields: LogFields, names: ReadonlyMap<string, string>): string {
  const { method, host, path, status, server, reason, ms } = fields;
  const parts = [
    `${value(method)} ${value(host)}${value(path)} ${value(status)}`,
    typeof ms === "number" ? `${ms.toFixed(1)} ms` : "",
    server ? `→ ${names.get(String(server)) ?? value(server)}` : "",
    reason ? value(reason) : "",
  ];
  return parts.filter((part) => part !== "").join(" ");
}

/** `warn: event what it says name=value` */
export function eventLine(level: LogLevel, event: string, fields: LogFields): string {
  const told = Object.entries(fields)
    .filter(([key, content]) => key !== "stack" && content !== undefined)
    .map(([key, content]) => (key === "message" ? value(content) : `${key}=${value(content)}`));
  return [level === "info" || level === "debug" ? "" : `${level}:`, event, ...told]
    .filter((part) => part !== "")
    .join(" ");
}

/** One line each, whatever a client put into a path. */
function value(content: unknown): string {
  const text = typeof content === "string" ? content : (JSON.stringify(content) ?? "");
  return text.replace(/[\u0000-\u001F\u007F-\u009F]/g, "?");
}
