/** Starts and ends the sample containers of `skerry dev`. */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { type Clock, systemClock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import { runtimeName } from "../runtime.ts";

export interface SampleServer {
  readonly name: string;
  /** "http://127.0.0.1:40123" */
  readonly url: string;
  /** Resolves when the process is gone. Idempotent. */
  stop(): Promise<void>;
}

/** A new process of a runtime takes a fraction of this, even on a busy machine. */
const START_TIMEOUT_MS = 15_000;

/** Starts one child process of this runtime on a free port; it ends with this process at the latest. */
export async function startSample(name: string, clock: Clock = systemClock): Promise<SampleServer> {
  const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
  const file = fileURLToPath(new URL(`./sample-server${extension}`, import.meta.url));
  const child = spawn(process.execPath, [...(runtimeName === "deno" ? ["run", "-A"] : []), file], {
    env: { ...process.env, SERVER_NAME: name, PORT: "0" },
    stdio: ["pipe", "pipe", "ignore"],
  });
  const ended = new Promise<void>((resolve) =>
    child.once("exit", () => resolve()).once("error", () => resolve()),
  );
  try {
    const port = await portOf(child, name, clock);
    return {
      name,
      url: `http://127.0.0.1:${port}`,
      stop() {
        child.kill("SIGTERM");
        return ended;
      },
    };
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

function portOf(child: ChildProcess, name: string, clock: Clock): Promise<number> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void =>
      reject(new EdgeError("INTERNAL", `the sample server ${name} did not start: ${why}`));
    const timer = clock.after(START_TIMEOUT_MS, () => fail("it said nothing"));
    let output = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      const port = /^listening on (\d+)\n/.exec(output)?.[1];
      if (port === undefined) return;
      timer.cancel();
      resolve(Number(port));
    });
    child.once("error", (error) => fail(error.message));
    child.once("exit", (code) => fail(`it ended with ${code}`));
  });
}
