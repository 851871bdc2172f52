/** One wormhole from start to exit: the command, the agent, and the order in which they end. */
import { randomBytes } from "node:crypto";
import { systemClock as clock, systemRandom as random, sleep, stayAlive } from "../clock.ts";
import { EdgeError, messageOf } from "../errors.ts";
import type { Agent, AgentLog } from "../tunnel/agent.ts";
import { type Child, startChild } from "../tunnel/child.ts";
import type { Target } from "../tunnel/link.ts";
import { listeningTarget } from "../tunnel/listening-port.ts";
import { targetAnswers } from "../tunnel/target-health.ts";
import { parseToken } from "../tunnel/token.ts";
import { version } from "../version.ts";
import { eventLine } from "./human-log.ts";
import { outliveReaders } from "./readers.ts";
import { listenForStop } from "./signals.ts";
import { WORMHOLE_HELP, type WormholeOptions, wormholeOptions } from "./wormhole-options.ts";

const EXIT_REFUSED = 1;
const EXIT_USAGE = 2;
/** The pauses between looks at a target that does not answer yet: short ones first. */
const LOOK_MS = 5;
const MAX_LOOK_MS = 250;
const HEALTH_MS = 5000;
/** Bad checks in a row that take the container out. */
const FALL = 2;
/** How long the command may take after SIGTERM. */
const STOP_MS = 10_000;
const SLOW_START_MS = 10_000;
const RESTART_MS = 500;
const MAX_RESTART_MS = 30_000;

/** On standard error, since standard output is the command's: JSON lines, or short ones for a person at a terminal. */
const log: AgentLog = (level, event, fields) => {
  if (level === "debug") return;
  const time = new Date(clock.wall());
  const line = process.stderr.isTTY
    ? `${time.toTimeString().slice(0, 8)} ${eventLine(level, event, fields ?? {})}`
    : JSON.stringify({ level, time: time.toISOString(), event, ...fields });
  process.stderr.write(`${line}\n`);
};

/** Runs one command line. Resolves with the exit code; never rejects. */
export async function runWormhole(args: readonly string[]): Promise<number> {
  const alive = stayAlive();
  outliveReaders();
  try {
    const options = wormholeOptions(args, process.env);
    if (options === "help" || options === "version") {
      process.stdout.write(options === "help" ? WORMHOLE_HELP : `${version}\n`);
      return 0;
    }
    parseToken(options.token);
    return await wormhole(options);
  } catch (error) {
    process.stderr.write(`wormhole: ${messageOf(error)}\n`);
    return error instanceof EdgeError && error.code === "USAGE" ? EXIT_USAGE : EXIT_REFUSED;
  } finally {
    alive.cancel();
  }
}

const FORWARDED = ["SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH"] as const;

/** What goes on, in one place for the signals. */
interface Running {
  child: Child | undefined;
  agent: Agent | undefined;
  stopping: boolean;
}

async function wormhole(options: WormholeOptions): Promise<number> {
  const wrapped = options.command.length > 0;
  if (!wrapped && !options.target)
    throw new EdgeError("USAGE", "neither a command nor a target: give one of them; see --help", {
      source: "operator",
    });
  if (process.pid === 1 && wrapped)
    log("warn", "wormhole.pid_1", {
      message:
        "no init runs here, so orphaned processes stay as zombies: docker run --init, or tini before wormhole",
    });
  const running: Running = { child: undefined, agent: undefined, stopping: false };
  let stopAsked = (): void => {};
  const stop = new Promise<void>((resolve) => {
    stopAsked = resolve;
  });
  let hopeless = (): void => {};
  const refused = new Promise<"refused">((resolve) => {
    hopeless = () => resolve("refused");
  });
  const ends = new AbortController();
  listenForSignals(running, stopAsked);
  const { target } = options;
  log("info", "wormhole.started", {
    version,
    ...(wrapped && { command: options.command[0] }),
    ...(target && { target: `${target.host}:${target.port}` }),
  });

  let backoff = RESTART_MS;
  for (;;) {
    const startedAt = clock.now();
    const child = wrapped ? startChild(options.command, process.env) : undefined;
    running.child = child;
    const life = new AbortController();
    void join(options, running, life.signal, hopeless).catch((error: unknown) => {
      if (!life.signal.aborted) log("error", "wormhole.failed", { message: messageOf(error) });
    });
    const how = await Promise.race([
      ...(child ? [child.exited] : []),
      stop.then(() => "stop" as const),
      refused,
    ]);
    if (how === "stop" || how === "refused") {
      if (how === "stop" && running.agent) {
        log("info", "wormhole.draining", { graceMs: options.graceMs });
        const left = running.agent.drain(options.graceMs);
        log("info", "wormhole.drained", { how: await Promise.race([left, child?.exited ?? left]) });
      }
      life.abort();
      const code = child ? await stopChild(child) : 0;
      running.agent?.close();
      ends.abort();
      return how === "refused" ? EXIT_REFUSED : code;
    }
    // In the same tick: nobody is to be sent to a command that is gone.
    life.abort();
    running.agent?.close();
    running.agent = undefined;
    log(how === 0 ? "info" : "warn", "wormhole.command_ended", { code: how });
    if (!options.restart || running.stopping) return how;
    if (clock.now() - startedAt > MAX_RESTART_MS) backoff = RESTART_MS;
    const again = await Promise.race([
      sleep(clock, backoff * (0.5 + random())).then(() => true),
      stop.then(() => false),
    ]);
    if (!again) return how;
    backoff = Math.min(backoff * 2, MAX_RESTART_MS);
  }
}

function listenForSignals(running: Running, stop: () => void): void {
  listenForStop({
    clock,
    onStop() {
      running.stopping = true;
      stop();
    },
    onInsist: (signal) => running.child?.signal(signal),
  });
  for (const signal of FORWARDED) process.on(signal, () => running.child?.signal(signal));
}

async function stopChild(child: Child): Promise<number> {
  child.signal("SIGTERM");
  const force = clock.after(STOP_MS, () => child.signal("SIGKILL"));
  const code = await child.exited;
  force.cancel();
  return code;
}

/** Waits for the target, joins, and keeps an eye on its health until `signal` aborts. */
async function join(
  options: WormholeOptions,
  running: Running,
  signal: AbortSignal,
  onHopeless: () => void,
): Promise<void> {
  const { health } = options;
  // The command starts meanwhile: what TLS and HTTP/2 take to load is most of what an agent takes to start.
  const loading = import("../tunnel/agent.ts");
  const [{ createAgent }, target] = await Promise.all([
    loading,
    answeringTarget(options, running.child, signal),
  ]);
  if (signal.aborted || running.stopping) return;
  running.agent = createAgent({
    token: options.token,
    target,
    app: options.name,
    version,
    instance: options.instance,
    run: randomBytes(8).toString("hex"),
    labels: options.labels,
    release: options.release,
    ...(options.location !== undefined && { location: options.location }),
    ...(options.edge !== undefined && { address: options.edge }),
    clock,
    random,
    log,
    onHopeless,
  });
  let bad = 0;
  while (!signal.aborted) {
    await sleep(clock, HEALTH_MS, signal);
    const good = await targetAnswers(target, health, clock);
    bad = good ? 0 : bad + 1;
    if (bad === FALL) log("warn", "wormhole.unhealthy", { target: `${target.host}:${target.port}` });
    if (good || bad >= FALL) running.agent.setHealthy(good);
  }
}

async function answeringTarget(
  { target: known, health }: WormholeOptions,
  child: Child | undefined,
  signal: AbortSignal,
): Promise<Target> {
  const since = clock.now();
  let told = false;
  for (;;) {
    const target = known ?? (child && listeningTarget(child.pid));
    if (target && (await targetAnswers(target, health, clock))) return target;
    if (!told && clock.now() - since > SLOW_START_MS) {
      told = true;
      const where = target ? `${target.host}:${target.port}${health ?? ""}` : "a port that the command opens";
      log("warn", "wormhole.waiting", {
        message: `${where} does not answer yet; WORMHOLE_TARGET says where the app is`,
      });
    }
    // Quick at first, since a container that starts fast should join fast: a tenth of what it took so far.
    const pauseMs = Math.min(Math.max(LOOK_MS, (clock.now() - since) / 10), MAX_LOOK_MS);
    await sleep(clock, pauseMs, signal);
  }
}
