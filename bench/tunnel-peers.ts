/** Other tunnels to the same server, for the table: what Debian and npm have. */
import { once } from "node:events";
import { chmodSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { type Cores, findProgram } from "./machine.ts";
import { type Child, freePort, launch, run } from "./process.ts";
import { until } from "./tunnel-edge.ts";

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

/**
 * The package wstunnel, which lies in `installed`, a folder of its own. Its client is the one that listens, so it stands
 * beside the edge, and there is no TLS between the two.
 */
export async function websocketPeer(installed: string, { cores, target }: PeerPlace): Promise<Peer> {
  const [port, near] = [await freePort(), await freePort()];
  const program = [process.execPath, join(installed, "node_modules/wstunnel/bin/wstt.js")];
  return {
    name: "WebSockets",
    host: "websocket.localhost",
    server: `http://127.0.0.1:${near}`,
    async start() {
      const far = [...program, "-s", `127.0.0.1:${port}`, "-t", target];
      await accepts(port, launch("wstunnel-server", far, { cores: cores.load }));
      const client = [...program, "-t", `127.0.0.1:${near}:${target}`, `ws://127.0.0.1:${port}`];
      await accepts(near, launch("wstunnel", client, { cores: String(cores.proxy) }));
    },
  };
}

/** Until `child` takes connections at a loopback port; neither of its ends says when. */
async function accepts(port: number, child: Child): Promise<void> {
  for (let tries = 0; tries < 200 && child.running(); tries++) {
    const socket = connect(port, "127.0.0.1");
    const open = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (open) return;
    await wait(25);
  }
  throw new Error(`${child.name} did not start: ${child.output().stderr}`);
}
