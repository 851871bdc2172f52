/** Other tunnels to the same server, for the table: what Debian and npm have. */
import { randomBytes } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { type Cores, findProgram } from "./machine.ts";
import { freePort, launch, run } from "./process.ts";
import { ROOT, until } from "./tunnel-edge.ts";

/** Where the edge finds the server by a peer's tunnel, and how its two ends are brought up. */
export interface Peer {
  readonly name: string;
  readonly host: string;
  readonly server: string;
  start(): Promise<void>;
}

/** The tunnel's end beside the edge shares the edge's core, as that of a wormhole does. */
export interface PeerPlace {
  readonly folder: string;
  readonly cores: Cores;
  /** `host:port` of the server. */
  readonly target: string;
}

/** `ssh -R`, by a server of its own on loopback; undefined where there is none. */
export async function sshPeer({ folder, cores, target }: PeerPlace): Promise<Peer | undefined> {
  const [ssh, sshd, keygen] = ["ssh", "sshd", "ssh-keygen"].map(findProgram);
  if (!ssh || !sshd || !keygen) return undefined;
  const home = join(folder, "ssh");
  mkdirSync(home, { mode: 0o700 });
  const [port, far] = [await freePort(), await freePort()];
  const file = (name: string): string => join(home, name);
  for (const key of ["host", "user"])
    await run("ssh-keygen", [keygen, "-q", "-t", "ed25519", "-N", "", "-f", file(key)], {
      cores: cores.load,
    });
  copyFileSync(file("user.pub"), file("authorized"));
  chmodSync(file("authorized"), 0o600);
  writeFileSync(
    file("sshd_config"),
    [
      `ListenAddress 127.0.0.1:${port}`,
      `HostKey ${file("host")}`,
      `AuthorizedKeysFile ${file("authorized")}`,
      `PidFile ${file("pid")}`,
      "PasswordAuthentication no",
      "PermitRootLogin prohibit-password",
      "StrictModes no",
      "UsePAM no",
      "",
    ].join("\n"),
  );
  const options = [
    "StrictHostKeyChecking=no",
    `UserKnownHostsFile=${file("known")}`,
    "ExitOnForwardFailure=yes",
  ];
  return {
    name: "ssh -R",
    host: "ssh.localhost",
    server: `http://127.0.0.1:${far}`,
    async start() {
      // For sshd to give its privileges away to.
      mkdirSync("/run/sshd", { recursive: true });
      const server = launch("sshd", [sshd, "-D", "-e", "-f", file("sshd_config")], {
        cores: String(cores.proxy),
      });
      await until("sshd", server, /Server listening/);
      const client = [ssh, "-v", "-F", "none", "-N", "-i", file("user"), "-p", String(port)];
      const forward = ["-R", `127.0.0.1:${far}:${target}`, `${userInfo().username}@127.0.0.1`];
      const tunnel = launch("ssh", [...client, ...options.flatMap((each) => ["-o", each]), ...forward], {
        cores: cores.load,
      });
      await until("ssh", tunnel, /remote forward success/);
    },
  };
}

/** The package lies in `installed`, a folder of its own: `npm install --prefix FOLDER @deco-cx/warp-node`. */
export async function websocketPeer(installed: string, { cores, target }: PeerPlace): Promise<Peer> {
  const host = "websocket.localhost";
  const port = await freePort();
  const key = randomBytes(16).toString("hex");
  const program = [process.execPath, join(ROOT, "bench/programs/websocket-tunnel.js"), installed];
  return {
    name: "WebSockets",
    host,
    server: `http://127.0.0.1:${port}`,
    async start() {
      const server = launch("websocket-server", [...program, "server", String(port), key], {
        cores: String(cores.proxy),
      });
      await until("the WebSocket server", server, /end ready/);
      const client = launch("websocket-client", [...program, "client", String(port), key, host, target], {
        cores: cores.load,
      });
      await until("the WebSocket client", client, /tunnel up/);
    },
  };
}
