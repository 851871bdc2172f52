/** Runs Pebble, a small ACME CA, with a DNS server that says 127.0.0.1 to every question. Loopback only. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { testCa } from "./ca.ts";
import { freePorts } from "./ports.ts";

export interface PebbleOptions {
  /** Where the CA's validator looks for HTTP-01 answers, in place of port 80. */
  httpPort: number;
  /** Where it looks for TLS-ALPN-01 answers, in place of port 443. @default one where nobody is */
  tlsPort?: number;
  /** Lifetime of issued certificates. @default 90 days */
  validitySeconds?: number;
  /** Require an external account binding: key id to MAC key (base64url). */
  eab?: Readonly<Record<string, string>>;
  /** Domains that are refused. */
  blocked?: readonly string[];
  /** Asked by the validator instead of one that says 127.0.0.1 to every question: "127.0.0.1:53535". */
  dnsServer?: string;
  /** More of Pebble's settings (PEBBLE_WFE_NONCEREJECT=50). Sleeps, refused nonces and reused authorizations are off. */
  env?: Readonly<Record<string, string>>;
}

export interface Pebble {
  /** The ACME directory. */
  readonly directory: string;
  /** PEM of the CA that signed the directory's own HTTPS certificate: text and file. */
  readonly ca: string;
  readonly caPath: string;
  /** The root that certificates from this CA chain to. A new one after every start. */
  root(): Promise<string>;
  /** How many certificates were issued since the last start. */
  issued(): number;
  /** Makes the DNS server fail for a name, or not any more. */
  servfail(name: string, on: boolean): Promise<void>;
  stop(): Promise<void>;
  /** Starts again on the same ports, with nothing remembered. */
  start(): Promise<void>;
  /** Stops everything and removes its files. */
  close(): Promise<void>;
}

export async function startPebble(options: PebbleOptions): Promise<Pebble> {
  const folder = await mkdtemp(join(tmpdir(), "skerry-pebble-"));
  const [acmePort, managementPort, tlsPort, dnsPort, dnsManagementPort] = await freePorts(5);
  const ca = await testCa();
  const server = await ca.issueFor(["localhost", "127.0.0.1"]);
  const caPath = join(folder, "ca.pem");
  const configPath = join(folder, "config.json");
  await writeFile(caPath, ca.rootPem);
  await writeFile(join(folder, "server.pem"), server.chain);
  await writeFile(join(folder, "server.key"), server.key, { mode: 0o600 });
  const settings = {
    listenAddress: `127.0.0.1:${acmePort}`,
    managementListenAddress: `127.0.0.1:${managementPort}`,
    certificate: join(folder, "server.pem"),
    privateKey: join(folder, "server.key"),
    httpPort: options.httpPort,
    tlsPort: options.tlsPort ?? tlsPort,
    ocspResponderURL: "",
    externalAccountBindingRequired: options.eab !== undefined,
    externalAccountMACKeys: options.eab ?? {},
    domainBlocklist: options.blocked ?? [],
    certificateValidityPeriod: options.validitySeconds ?? 90 * 86_400,
  };
  await writeFile(configPath, JSON.stringify({ pebble: settings }));

  const children = new Set<ChildProcess>();
  const killAll = (): void => {
    for (const child of children) child.kill("SIGKILL");
  };
  process.once("exit", killAll);
  let output = "";
  const run = (command: string, args: string[], env: Readonly<Record<string, string>> = {}): ChildProcess => {
    const child = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    children.add(child);
    child.once("exit", () => children.delete(child));
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-200_000);
      });
    }
    return child;
  };
  run("pebble-challtestsrv", [
    ...["-management", `127.0.0.1:${dnsManagementPort}`, "-dns01", `127.0.0.1:${dnsPort}`],
    ...["-http01", "", "-https01", "", "-tlsalpn01", ""],
    ...["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""],
  ]);

  const directory = `https://127.0.0.1:${acmePort}/dir`;
  let pebble: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    output = "";
    const defaults = { PEBBLE_VA_NOSLEEP: "1", PEBBLE_WFE_NONCEREJECT: "0", PEBBLE_AUTHZREUSE: "0" };
    const args = [
      "-config",
      configPath,
      "-strict=false",
      "-dnsserver",
      options.dnsServer ?? `127.0.0.1:${dnsPort}`,
    ];
    pebble = run("pebble", args, { ...defaults, ...options.env });
    for (let tries = 0; ; tries++) {
      try {
        await get(directory, ca.rootPem);
        return;
      } catch (thrown) {
        if (tries > 400 || pebble.exitCode !== null)
          throw new Error(`pebble did not start: ${output}`, { cause: thrown });
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  };
  const stop = async (): Promise<void> => {
    if (!pebble || pebble.exitCode !== null || pebble.signalCode !== null) return;
    const gone = once(pebble, "exit");
    pebble.kill("SIGKILL");
    await gone;
  };
  await start();

  return {
    directory,
    ca: await readFile(caPath, "utf8"),
    caPath,
    root: () => get(`https://127.0.0.1:${managementPort}/roots/0`, ca.rootPem),
    issued: () => output.match(/Issued certificate serial/g)?.length ?? 0,
    async servfail(name, on) {
      const url = `http://127.0.0.1:${dnsManagementPort}/${on ? "set" : "clear"}-servfail`;
      const { ok } = await fetch(url, { method: "POST", body: JSON.stringify({ host: `${name}.` }) });
      if (!ok) throw new Error(`${url} failed`);
    },
    stop,
    start,
    async close() {
      await stop();
      const gone = [...children].map((child) => once(child, "exit"));
      killAll();
      await Promise.all(gone);
      process.removeListener("exit", killAll);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function get(url: string, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = https.get(url, { ca, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => {
        body += text;
      });
      response.on("end", () => resolve(body));
      response.on("error", reject);
    });
    request.on("error", reject);
  });
}
