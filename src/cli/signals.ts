/** SIGTERM and SIGINT: the first asks to stop, another one insists. */
import type { Clock } from "../clock.ts";

const STOP_SIGNALS = ["SIGTERM", "SIGINT"] as const;

/** GNU timeout, and whoever else tells a process and then its whole group, says one thing twice within this. */
const ECHO_MS = 100;

export interface StopSignals {
  readonly clock: Clock;
  onStop(signal: NodeJS.Signals): void;
  /** With each further signal. */
  onInsist(signal: NodeJS.Signals): void;
  /** @default this process */
  readonly source?: Pick<NodeJS.EventEmitter, "on" | "removeListener">;
}

/** Listens until the returned function is called. */
export function listenForStop({ clock, onStop, onInsist, source = process }: StopSignals): () => void {
  let first: { readonly signal: NodeJS.Signals; readonly at: number } | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (!first) {
      first = { signal, at: clock.now() };
      onStop(signal);
    } else if (signal !== first.signal || clock.now() - first.at >= ECHO_MS) onInsist(signal);
  };
  for (const signal of STOP_SIGNALS) source.on(signal, onSignal);
  return () => {
    for (const signal of STOP_SIGNALS) source.removeListener(signal, onSignal);
  };
}
