/** Log events, not sentences: one JSON line with a name (`area.event`) and fields. */
import { pino } from "pino";

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Fields of one event. Secrets never go in. */
export type LogFields = Record<string, unknown>;

export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  /** Writes out what is buffered. Call before the process ends. */
  flush(): void;
}

export interface LogOptions {
  /** The least level that is written. @default "info" */
  level?: LogLevel;
  /** Where lines go. @default standard output */
  write?: (line: string) => void;
}

/**
 * A log of JSON lines, buffered for at most 100 ms.
 *
 * @example
 * ```ts
 * const log = createLog();
 * log.info("certificate.renewed", { host: "app.example.com", tookMs: 812 });
 * ```
 */
export function createLog(options: LogOptions = {}): Log {
  const { write } = options;
  const destination = write
    ? { write, flushSync: () => {} }
    : pino.destination({ fd: 1, minLength: 4096, sync: false, periodicFlush: 100 });
  const out = pino(
    {
      level: options.level ?? "info",
      base: null,
      messageKey: "event",
      formatters: { level: (level) => ({ level }) },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    destination,
  );
  const at =
    (level: LogLevel) =>
    (event: string, fields?: LogFields): void =>
      fields ? out[level](fields, event) : out[level](event);
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    flush() {
      try {
        destination.flushSync();
      } catch {
        // A closed or not yet opened standard output: there is nowhere left to write, and nobody to tell.
      }
    },
  };
}

/** A log that says nothing. */
export const silentLog: Log = { debug() {}, info() {}, warn() {}, error() {}, flush() {} };
