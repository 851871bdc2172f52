/**
 * Runs once before all tests: looks for the programs that the tests drive, and installs those that are missing where it
 * may (root, Debian). Elsewhere it stops at once and says how. No test is skipped for want of a program.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Program → the Debian package that has it. One line more is all that a new one needs. */
const PROGRAMS: Readonly<Record<string, string>> = {
  pebble: "pebble",
  "pebble-challtestsrv": "pebble",
  knotd: "knot",
  nginx: "nginx",
  apache2: "apache2-bin",
  curl: "curl",
  openssl: "openssl",
  nghttp: "nghttp2-client",
  wrk: "wrk",
  slowhttptest: "slowhttptest",
  dnsmasq: "dnsmasq-base",
  h2load: "nghttp2-client",
  chromium: "chromium",
  python3: "python3",
  "nats-server": "nats-server",
};

/** What has no program of its own: a file, whose package brings it. Debian's Python finds these in their fixed place. */
const FILES: Readonly<Record<string, string>> = {
  "/usr/lib/python3/dist-packages/grpc/__init__.py": "python3-grpcio",
  "/usr/lib/python3/dist-packages/h2/__init__.py": "python3-h2",
  "/usr/lib/python3/dist-packages/hpack/__init__.py": "python3-hpack",
};

/** Debian keeps daemons out of the PATH of ordinary users. */
const FOLDERS: readonly string[] = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"];

function present(program: string): boolean {
  return FOLDERS.some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false; // Not in this folder; the next may have it.
    }
  });
}

function missingPackages(): string[] {
  const programs = Object.entries(PROGRAMS).filter(([program]) => !present(program));
  const files = Object.entries(FILES).filter(([file]) => !existsSync(file));
  return [...new Set([...programs, ...files].map(([, name]) => name))];
}

/** Installs packages without starting the services in them: dpkg asks policy-rc.d, and 101 means "no". */
function install(packages: readonly string[]): void {
  const policy = "/usr/sbin/policy-rc.d";
  const ours = !existsSync(policy);
  if (ours) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    const options = {
      stdio: ["ignore", 2, 2] as ["ignore", number, number],
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
      timeout: 300_000,
    };
    execFileSync("apt-get", ["update", "-q"], options);
    execFileSync("apt-get", ["install", "-qy", "--no-install-recommends", ...packages], options);
  } finally {
    if (ours) rmSync(policy, { force: true });
  }
}

export default function setup(): void {
  const packages = missingPackages();
  if (packages.length === 0) return;
  const line = `apt-get update && apt-get install -y --no-install-recommends ${packages.join(" ")}`;
  const mayInstall = process.getuid?.() === 0 && spawnSync("apt-get", ["--version"]).status === 0;
  if (!mayInstall)
    throw new Error(`the tests need programs that are not here; install them as root:\n  ${line}`);
  process.stderr.write(`installing for the tests: ${packages.join(" ")}\n`);
  install(packages);
  const still = missingPackages();
  if (still.length > 0) throw new Error(`still missing after the installation: ${still.join(" ")}`);
}
