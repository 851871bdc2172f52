/**
 * The two doors of an edge. One TLS listener serves every protocol by ALPN; the runtimes' own HTTP servers are not used,
 * because one of them ignores SNICallback and another dies of what visitors send.
 */
import net from "node:net";
import tls from "node:tls";
import type { Clock } from "../clock.ts";
import type { ListenAddress } from "../config/config.ts";
import type { DownstreamConnection, Exchange } from "../exchange/exchange.ts";
import type { Limits, Offence } from "../exchange/limits.ts";
import { serveHttp1 } from "../http1/server.ts";
import { serveHttp2 } from "../http2/server.ts";
import { boundReading } from "../runtime.ts";
import type { Connections, Drainable } from "./connections.ts";
import { listen, stopListening } from "./listen.ts";

/** Mozilla's intermediate list for TLS 1.2; TLS 1.3 suites are all good and stay the runtime's. */
const CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

export interface ListenerOptions {
  readonly address: ListenAddress;
  readonly limits: () => Limits;
  readonly clock: Clock;
  readonly connections: Connections;
  onExchange(exchange: Exchange): void;
  onOffence(reason: Offence): void;
}

export interface SecureListenerOptions extends ListenerOptions {
  /** The context for a server name in lower case, or undefined to refuse the handshake. Synchronous: it only reads. */
  secureContext(serverName: string): tls.SecureContext | undefined;
  /** Shown to clients that send no server name. */
  readonly placeholder: { readonly key: string; readonly cert: string };
  /** Whether a connection made for `serverName` may ask for `authority`; otherwise 421. */
  authorize(serverName: string, authority: string): boolean;
  onHandshakeError(reason: string): void;
}

export interface Listener {
  readonly address: ListenAddress;
  /** No new connections; open ones go on. */
  stop(): void;
}

let connectionIds = 0;

/** What a TLS socket can tell, read when asked for: the cipher of most connections never is. */
class TlsFacts {
  readonly #socket: tls.TLSSocket;
  readonly serverName: string;
  readonly alpn: string;

  constructor(socket: tls.TLSSocket) {
    this.#socket = socket;
    const { servername, alpnProtocol } = socket as { servername?: unknown; alpnProtocol?: unknown };
    this.serverName = typeof servername === "string" ? normalName(servername) : "";
    this.alpn = typeof alpnProtocol === "string" ? alpnProtocol : "";
  }

  get version(): string {
    return this.#socket.getProtocol() ?? "";
  }

  get cipher(): string {
    return this.#socket.getCipher()?.name ?? "";
  }
}

function normalName(serverName: string): string {
  const lower = serverName.toLowerCase();
  return lower.endsWith(".") ? lower.slice(0, -1) : lower;
}

function describe(socket: net.Socket, tlsFacts: TlsFacts | undefined): DownstreamConnection {
  const base = {
    id: ++connectionIds,
    remoteAddress: (socket.remoteAddress ?? "").replace(/^::ffff:(?=\d+\.)/, ""),
    remotePort: socket.remotePort ?? 0,
    localPort: socket.localPort ?? 0,
  };
  return tlsFacts ? { ...base, tls: tlsFacts } : base;
}

/** Counts a connection of its client, or closes it at once. Returns what to call when it ends. */
function admit(
  options: ListenerOptions,
  socket: net.Socket,
  connection: DownstreamConnection,
): ((served: Drainable) => void) | undefined {
  const { connections } = options;
  if (!connections.admit(connection.remoteAddress)) {
    options.onOffence("connections_per_client");
    socket.destroy();
    return undefined;
  }
  return (served) => {
    connections.remove(served);
    connections.release(connection.remoteAddress);
  };
}

function serve(
  options: ListenerOptions,
  socket: net.Socket,
  connection: DownstreamConnection,
  authorize?: (authority: string) => boolean,
): void {
  const ended = admit(options, socket, connection);
  if (!ended) return;
  const common = {
    connection,
    limits: options.limits(),
    clock: options.clock,
    onExchange: options.onExchange,
    onOffence: options.onOffence,
    onClose: () => ended(served),
  };
  const served: Drainable =
    connection.tls?.alpn === "h2"
      ? serveHttp2(socket, { ...common, scheme: "https", ...(authorize && { authorize }) })
      : serveHttp1(socket, { ...common, scheme: connection.tls ? "https" : "http" });
  options.connections.add(served);
}

/** Port 443: TLS, then HTTP/2 or HTTP/1.1 as ALPN says. */
export async function openSecureListener(options: SecureListenerOptions): Promise<Listener> {
  const refuse = (name: string): Error => new Error(`no certificate is configured for "${name}"`);
  const server = tls.createServer({
    ALPNProtocols: ["h2", "http/1.1"],
    minVersion: "TLSv1.2",
    ciphers: CIPHERS,
    honorCipherOrder: false,
    handshakeTimeout: options.limits().headTimeoutMs,
    allowHalfOpen: true,
    noDelay: true,
    key: options.placeholder.key,
    cert: options.placeholder.cert,
    SNICallback(name, done) {
      const serverName = normalName(name);
      // Deno 2.9 asks even where the client sent no name; no context then means the server's own, the placeholder.
      if (serverName === "") return done(null);
      const context = options.secureContext(serverName);
      if (context) done(null, context);
      else done(refuse(serverName));
    },
  });
  server.on("secureConnection", (socket: tls.TLSSocket) => {
    boundReading(socket);
    const facts = new TlsFacts(socket);
    const connection = describe(socket, facts);
    serve(options, socket, connection, (authority) => options.authorize(facts.serverName, authority));
  });
  server.on("tlsClientError", (error: NodeJS.ErrnoException, socket: tls.TLSSocket) => {
    options.onHandshakeError(error.code ?? "unknown");
    socket.destroy();
  });
  const address = await listen(server, options.address, "listen.https");
  // Set after binding, as failures to bind are the caller's; later ones (EMFILE on accept) pass and the next accept works.
  server.on("error", (error: NodeJS.ErrnoException) => options.onHandshakeError(error.code ?? "listener"));
  return { address, stop: () => stopListening(server) };
}

/** Port 80: challenges and the way to HTTPS. */
export async function openPlainListener(options: ListenerOptions, field: string): Promise<Listener> {
  const server = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    serve(options, socket, describe(socket, undefined));
  });
  const address = await listen(server, options.address, field);
  server.on("error", () => {
    // EMFILE and the like while accepting: the connection is lost, the listener is not.
    options.onOffence("connections_per_client");
  });
  return { address, stop: () => stopListening(server) };
}
