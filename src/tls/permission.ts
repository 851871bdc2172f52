/** Whether a name may have a certificate: a function of the config's, or a service that is asked. */
import type { Clock } from "../clock.ts";
import type { OnDemandConfig } from "../config/config.ts";

/** Rejects where nobody could be asked, which is no answer. */
export type Permission = (name: string, signal: AbortSignal) => Promise<boolean>;

/** For the function and the service alike: a handshake waits for it. */
const TIMEOUT_MS = 10_000;

export function createPermission(permission: OnDemandConfig["permission"], clock: Clock): Permission {
  const ask =
    permission.kind === "allow"
      ? async (name: string): Promise<boolean> => (await permission.allow(name)) === true
      : (name: string, signal: AbortSignal): Promise<boolean> => askService(permission.url, name, signal);
  return (name, signal) => bounded(clock, signal, (bound) => ask(name, bound));
}

/** `GET URL?domain=NAME`: any 2xx is yes, any other answer no. A redirect is an answer, and not a yes. */
async function askService(url: string, name: string, signal: AbortSignal): Promise<boolean> {
  const question = new URL(url);
  question.searchParams.set("domain", name);
  const answer = await fetch(question, { redirect: "manual", signal });
  // Only its status counts.
  await answer.body?.cancel();
  if (answer.status >= 500) throw new Error(`${question.origin} answered ${answer.status}`);
  return answer.status >= 200 && answer.status < 300;
}

/** A function of the user's may forget its signal, so time runs out here. */
function bounded(
  clock: Clock,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<boolean>,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const late = new AbortController();
    const end = (): void => {
      timer.cancel();
      signal.removeEventListener("abort", stop);
    };
    const fail = (reason: unknown): void => {
      end();
      late.abort(reason);
      reject(reason);
    };
    const stop = (): void => fail(signal.reason);
    const timer = clock.after(TIMEOUT_MS, () => fail(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    if (signal.aborted) return stop();
    signal.addEventListener("abort", stop, { once: true });
    work(late.signal).then((yes) => {
      end();
      resolve(yes);
    }, fail);
  });
}
