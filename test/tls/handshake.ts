/** Real handshakes with a resolver behind a real listener. */
import type { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { connect, createServer } from "node:tls";
import type { Resolver } from "../../src/tls/resolver.ts";

/** The certificate that a client gets who asks for `serverName`; undefined where the handshake is refused. */
export async function servedOver(
  resolver: Resolver,
  serverName: string,
): Promise<X509Certificate | undefined> {
  const server = createServer({
    SNICallback: (name, done) => {
      const context = resolver.secureContext(name);
      if (context) done(null, context);
      else done(new Error("not a name of ours"));
    },
  });
  server.on("tlsClientError", () => {});
  server.on("secureConnection", (socket) => socket.on("error", () => {}));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const socket = connect({ host: "127.0.0.1", port, servername: serverName, rejectUnauthorized: false });
  try {
    await once(socket, "secureConnect");
    return socket.getPeerX509Certificate();
  } catch {
    return undefined;
  } finally {
    socket.destroy();
    server.close();
  }
}
