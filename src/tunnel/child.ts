/** The command that an agent wraps: started by its arguments, never through a shell, and told of every signal. */
import { spawn } from "node:child_process";
import { constants } from "node:os";

export interface Child {
  readonly pid: number;
  /** Resolves with the exit code; 128 and the signal's number where one killed it, 127 where it could not be started. */
  readonly exited: Promise<number>;
  readonly running: boolean;
  signal(signal: NodeJS.Signals): void;
}

/** Starts `command` with this process's streams and environment, without the token. */
export function startChild(command: readonly string[], environment: NodeJS.ProcessEnv): Child {
  const [program = "", ...args] = command;
  const { WORMHOLE_TOKEN: _token, FLY_TOKEN: _fly, ...env } = environment;
  const child = spawn(program, args, { stdio: "inherit", env });
  let running = true;
  const exited = new Promise<number>((resolve) => {
    const end = (code: number): void => {
      running = false;
      resolve(code);
    };
    child.on("error", (error: NodeJS.ErrnoException) => {
      // A signal that came too late is no failure to start.
      if (child.pid !== undefined) return;
      process.stderr.write(`wormhole: cannot start ${program}: ${error.message}\n`);
      end(error.code === "EACCES" ? 126 : 127);
    });
    child.on("exit", (code, signal) => end(code ?? 128 + (signal === null ? 0 : constants.signals[signal])));
  });
  return {
    pid: child.pid ?? -1,
    exited,
    get running() {
      return running;
    },
    signal(signal) {
      if (!running || child.pid === undefined) return;
      // Not child.kill(): after that Deno 2.9.5 reports the signal as the end, whatever the process made of it.
      process.kill(child.pid, signal);
    },
  };
}
