/** Binding addresses, and saying what to do when the system refuses. */
import type { Server } from "node:net";
import type { ListenAddress } from "../config/config.ts";
import { EdgeError, messageOf } from "../errors.ts";

/** `host:port`, with brackets around IPv6. */
export function formatAddress({ host, port }: ListenAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

function advice(code: string | undefined, field: string, port: number): string {
  switch (code) {
    case "EADDRINUSE":
      return `the port is busy: stop what listens there (\`ss -ltnp sport = :${port}\` names it) or set ${field} to another`;
    case "EACCES":
      return `ports below 1024 need a privilege: allow them with \`sysctl net.ipv4.ip_unprivileged_port_start=${Math.min(port, 80)}\`, give the runtime CAP_NET_BIND_SERVICE, or set ${field} to a port above 1023`;
    case "EADDRNOTAVAIL":
      return `this machine has no such address: set ${field} to one it has, or to 0.0.0.0:${port}`;
    case "ENOTFOUND":
      return `the name does not resolve: set ${field} to an address`;
    default:
      return `check ${field}`;
  }
}

/** Listens, and resolves with the address it got. `field` is the config field to name, such as `listen.https`. */
export function listen(server: Server, address: ListenAddress, field: string): Promise<ListenAddress> {
  return new Promise((resolve, reject) => {
    const refused = (error: NodeJS.ErrnoException): void => {
      const noIpv6 = error.code === "EAFNOSUPPORT" || error.code === "EADDRNOTAVAIL";
      if (address.host === "::" && noIpv6) {
        // A machine without IPv6: "all addresses" then means all of IPv4.
        resolve(listen(server, { host: "0.0.0.0", port: address.port }, field));
        return;
      }
      reject(
        new EdgeError(
          "LISTEN_FAILED",
          `${field}: cannot listen on ${formatAddress(address)}: ${advice(error.code, field, address.port)}`,
          { source: "operator", cause: new Error(messageOf(error)) },
        ),
      );
    };
    server.once("error", refused);
    server.listen({ host: address.host, port: address.port, backlog: 4096 }, () => {
      server.removeListener("error", refused);
      const bound = server.address();
      const port = bound !== null && typeof bound === "object" ? bound.port : address.port;
      resolve({ host: address.host, port });
    });
  });
}

/** Stops accepting; resolves when the listening socket is gone. Open connections are not waited for. Idempotent. */
export function stopListening(server: Server): void {
  // A server that never listened, or stopped already, answers with an error that says just that.
  server.close(() => {});
}
