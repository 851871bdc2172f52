/** Where a bench runs: a folder, a certificate, cores; and how its options name things. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Cores, chooseCores, moveSelf } from "./machine.ts";
import { killAllNow, stopAll } from "./process.ts";
import { HOSTNAME } from "./targets/target.ts";

export interface Place {
  readonly folder: string;
  readonly cores: Cores;
  readonly certPath: string;
  readonly keyPath: string;
}

/** Makes it, and sees to it that it and every child are gone when this program ends, by Ctrl-C too. */
export function makePlace(name: string): Place {
  const cores = chooseCores();
  moveSelf(cores);
  const folder = mkdtempSync(join(tmpdir(), `skerry-${name}-`));
  process.once("exit", () => {
    killAllNow();
    rmSync(folder, { recursive: true, force: true });
  });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.once(signal, () => void stopAll().finally(() => process.exit(130)));
  const [certPath, keyPath] = [join(folder, "cert.pem"), join(folder, "key.pem")];
  const names = `subjectAltName=DNS:${HOSTNAME},IP:127.0.0.1`;
  const subject = ["-subj", `/CN=${HOSTNAME}`, "-addext", names];
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", keyPath];
  execFileSync("openssl", ["req", "-x509", "-days", "2", ...key, ...subject, "-out", certPath], {
    stdio: "ignore",
  });
  return { folder, cores, certPath, keyPath };
}

/** Those of `all` that `wanted` names, by comma; all of them where it is empty. Throws for a name that there is not. */
export function chosen<T>(all: readonly T[], wanted: string, name: (item: T) => string, what: string): T[] {
  const names = wanted === "" ? [] : wanted.split(",");
  const unknown = names.find((one) => !all.some((item) => name(item) === one));
  if (unknown !== undefined)
    throw new Error(`no ${what} is called "${unknown}"; there are ${all.map(name).join(", ")}`);
  return all.filter((item) => names.length === 0 || names.includes(name(item)));
}
