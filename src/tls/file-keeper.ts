/** Keeps the operator's own certificate: reads it, says what is wrong with it, and reads it again when the files change. */
import { readFile, stat } from "node:fs/promises";
import type { Timer } from "../clock.ts";
import type { HostTlsConfig } from "../config/config.ts";
import { EdgeError, errorFields, messageOf } from "../errors.ts";
import { type Bundle, bundleOf, checkServable } from "./bundle.ts";
import {
  type CertificateFailure,
  certificateState,
  createExpiryAlarm,
  iso,
  type Keeper,
  type KeeperParts,
} from "./keeper.ts";
import { reasonOf } from "./ledger.ts";

/** How often the files' dates are looked at. */
const POLL_MS = 30_000;

export function keepFiles(host: string, files: HostTlsConfig, parts: KeeperParts): Keeper {
  const { clock, log, meters, resolver } = parts;
  let bundle: Bundle | undefined;
  let failure: CertificateFailure | undefined;
  let seen = "";
  const alarm = createExpiryAlarm(host, parts);
  let timer: Timer | undefined;
  let running: Promise<void> | undefined;
  let closed = false;

  const read = async (): Promise<void> => {
    const mark = await markOf(files);
    if (mark === seen) return;
    seen = mark;
    const [chain, key] = [await readText(files.certPath), await readText(files.keyPath)];
    const generation = (bundle?.generation ?? 0) + 1;
    const next = bundleOf(
      { key, chain },
      { host, issuer: "file", generation, obtainedAt: clock.wall() },
      files.certPath,
    );
    warn(next);
    if (!resolver.set(host, next)) return;
    bundle = next;
    failure = undefined;
    const { names, notBefore, notAfter } = next;
    log.info("certificate.loaded", {
      host,
      generation,
      names,
      issuer: "file",
      notBefore: iso(notBefore),
      notAfter: iso(notAfter),
    });
  };

  /** Clients may refuse it, but it is what the operator wants served. */
  const warn = (next: Bundle): void => {
    try {
      checkServable(next, files.certPath);
    } catch (thrown) {
      log.warn("certificate.unsuitable", { host, ...errorFields(thrown) });
    }
  };

  const look = async (): Promise<void> => {
    try {
      await read();
      alarm(bundle);
    } catch (thrown) {
      const reason = reasonOf(thrown);
      const message = messageOf(thrown);
      // The same trouble is not told every half minute.
      if (failure?.message === message) return;
      failure = { reason, message, at: clock.wall(), failures: (failure?.failures ?? 0) + 1 };
      meters.failed(reason);
      log.error("certificate.failed", { host, reason, kept: bundle?.generation, ...errorFields(thrown) });
    }
  };

  const poll = (): void => {
    if (closed || running) return;
    running = look().finally(() => {
      running = undefined;
      if (!closed) timer = clock.after(POLL_MS, poll);
    });
  };

  return {
    load: look,
    begin() {
      timer = clock.after(POLL_MS, poll);
    },
    retry() {
      seen = "";
      timer?.cancel();
      poll();
    },
    status: () => ({
      host,
      source: "file",
      state: certificateState(bundle, clock.wall()),
      generation: bundle?.generation,
      names: bundle?.names ?? [],
      issuer: bundle?.issuer,
      notBefore: bundle?.notBefore,
      notAfter: bundle?.notAfter,
      nextAttemptAt: undefined,
      failure,
    }),
    async close() {
      closed = true;
      timer?.cancel();
      await running;
    },
  };
}

/** Changes whenever either file does, be it by writing, renaming or a link that points elsewhere. */
async function markOf({ certPath, keyPath }: HostTlsConfig): Promise<string> {
  const marks: string[] = [];
  for (const path of [certPath, keyPath]) {
    try {
      const { mtimeMs, size, ino } = await stat(path);
      marks.push(`${ino}:${size}:${mtimeMs}`);
    } catch (thrown) {
      throw unreadable(path, thrown);
    }
  }
  return marks.join(" ");
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (thrown) {
    throw unreadable(path, thrown);
  }
}

function unreadable(path: string, thrown: unknown): EdgeError {
  const code = (thrown as { code?: string }).code ?? messageOf(thrown);
  return new EdgeError("CERTIFICATE_INVALID", `${path} cannot be read (${code})`, {
    source: "operator",
    cause: thrown,
  });
}
