/** One edge in this process, from start to exit: signals, reload, and nothing that ends it by accident. */
import { constants } from "node:os";
import { systemClock } from "../clock.ts";
import type { ResolvedConfig } from "../config/config.ts";
import type { Edge } from "../edge/edge.ts";
import { errorFields } from "../errors.ts";
import { createLog, type Log } from "../log.ts";
import { listenForStop } from "./signals.ts";

export interface RunOptions {
  /** Reads the config again, for SIGHUP. Without it the signal is logged and ignored. */
  reload?: () => Promise<ResolvedConfig>;
  /** @default JSON lines on standard output */
  log?: Log;
  /** Called once the edge serves. */
  onStart?: (edge: Edge) => void;
}

/**
 * Starts an edge and resolves with the exit code after a signal stopped it: 0 when it drained. A second signal ends the
 * process at once, by convention with 128 and the signal's number. Rejects when the edge cannot start.
 */
export async function runEdge(config: ResolvedConfig, options: RunOptions = {}): Promise<number> {
  const log = options.log ?? createLog({ level: config.logLevel });
  // Loaded here, so that `check` and `--help` do not wait for it.
  const [{ startEdge }, { createAdminApp }] = await Promise.all([
    import("../edge/edge.ts"),
    import("../admin/app.ts"),
  ]);
  // Before the start, so that a signal while it starts stops it too, instead of ending the process half-way.
  let stop: ((signal: NodeJS.Signals) => void) | undefined;
  const stopped = new Promise<NodeJS.Signals>((resolve) => {
    stop = resolve;
  });
  const release = listenForStop({
    clock: systemClock,
    onStop: (signal) => stop?.(signal),
    onInsist(signal) {
      log.flush();
      process.exit(128 + constants.signals[signal]);
    },
  });
  const reload = reloader(log, options.reload);
  process.on("SIGHUP", reload.request);
  try {
    const edge = await startEdge(config, { log, admin: createAdminApp });
    keepRunning(log);
    reload.serve(edge);
    options.onStart?.(edge);
    const signal = await stopped;
    log.info("process.stopping", { signal });
    await edge.drain();
    await edge.close();
  } finally {
    release();
    process.removeListener("SIGHUP", reload.request);
    log.flush();
  }
  return 0;
}

/** Promise 7 of the design: no input from the network ends the process, not even through a fault of ours. */
function keepRunning(log: Log): void {
  const report = (error: unknown): void => log.error("process.uncaught", errorFields(error));
  process.on("uncaughtException", report);
  process.on("unhandledRejection", report);
}

interface Reloader {
  request: () => void;
  serve: (edge: Edge) => void;
}

/** One reload at a time; a request that comes during one is done after it. */
function reloader(log: Log, read: RunOptions["reload"]): Reloader {
  let edge: Edge | undefined;
  let wanted = false;
  let running = false;
  const work = async (): Promise<void> => {
    if (!edge || running || !wanted) return;
    running = true;
    wanted = false;
    try {
      if (!read) log.warn("config.reload_ignored", { message: "there is no config file to read again" });
      else await edge.reload(await read());
    } catch (error) {
      // Promise 6: a bad change is refused and the old one keeps running.
      log.error("config.refused", errorFields(error));
    } finally {
      running = false;
    }
    await work();
  };
  return {
    request() {
      wanted = true;
      void work();
    },
    serve(started) {
      edge = started;
      void work();
    },
  };
}
