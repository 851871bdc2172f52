/** Port 443: TLS, then HTTP/2 or HTTP/1.1 as ALPN says. */
import net, { isIP } from "node:net";
import tls from "node:tls";
import type { ClientAuthState } from "../exchange/exchange.ts";
import { alpnOptions, boundReading, configuresEveryHandshake } from "../runtime.ts";
import type { AlpnChallenge } from "../tls/alpn-challenge.ts";
import type { KeyPair } from "../tls/bundle.ts";
import { createIdentify, type Identify } from "../tls/client-auth.ts";
import type { ProtocolOptions } from "../tls/profile.ts";
import { normalizeName } from "../tls/resolver.ts";
import { createConnections } from "./connections.ts";
import { createHandshakeTimes } from "./handshake-times.ts";
import { peekHello, refuseName } from "./hello.ts";
import { listen, stopListening } from "./listen.ts";
import { describe, type Listener, type ListenerOptions, serve } from "./listeners.ts";
import { shakeHands } from "./shake-hands.ts";

const HTTP = ["h2", "http/1.1"];

type Context = tls.SecureContext | undefined;

export interface SecureListenerOptions extends ListenerOptions {
  readonly protocol: ProtocolOptions;
  /** From connecting to the end of the handshake. */
  readonly handshakeTimeoutMs: number;
  /** The context for a server name as it was sent, or undefined to refuse the handshake. Never rejects. */
  secureContext(serverName: string): Context | Promise<Context>;
  /** Shown to clients that send no server name. */
  readonly placeholder: KeyPair;
  /** Undefined where no host asks for client certificates. */
  readonly clientAuth: ClientAuthSource | undefined;
  /** Undefined where TLS-ALPN-01 is not configured. */
  readonly alpnChallenge?: AlpnChallenge | undefined;
  /** Whether a connection made for `serverName` may ask for `authority`; otherwise 421. */
  authorize(serverName: string, authority: string): boolean;
  onHandshakeError(reason: string): void;
  /** Agents ask for this protocol, and their connections go to this function. */
  readonly tunnel?: { readonly protocol: string; accept(socket: tls.TLSSocket, remoteAddress: string): void };
}

export interface ClientAuthSource {
  /** PEM of the authorities that a host trusts; undefined where it asks for no certificate. */
  ca(serverName: string): string | undefined;
  /** What such a host shows of its own. */
  pair(serverName: string): KeyPair | undefined;
}

export interface SecureListener extends Listener {
  /** Whether hosts may begin to ask for client certificates. */
  readonly asksClients: boolean;
  /** 48 bytes. Not for connections with client certificates, which keep to themselves. */
  setTicketKeys(keys: Buffer): void;
}

/** What a TLS socket can tell, read when asked for: the cipher of most connections never is. */
class TlsFacts {
  readonly #socket: tls.TLSSocket;
  readonly serverName: string;
  readonly alpn: string;
  readonly clientAuth: ClientAuthState | undefined;

  constructor(socket: tls.TLSSocket, clientAuth: ClientAuthState | undefined) {
    this.#socket = socket;
    // A resumed TLS 1.2 session has no name in Node.
    const { servername, alpnProtocol } = socket as { servername?: unknown; alpnProtocol?: unknown };
    const name = typeof servername === "string" && !isIP(servername) ? normalizeName(servername) : "";
    this.serverName = clientAuth?.host ?? name;
    this.alpn = typeof alpnProtocol === "string" ? alpnProtocol : "";
    this.clientAuth = clientAuth;
  }

  get version(): string {
    return this.#socket.getProtocol() ?? "";
  }

  get cipher(): string {
    return this.#socket.getCipher()?.name ?? "";
  }
}

/** Opens it, on any of the three runtimes by `node:tls` alone. */
export async function openSecureListener(options: SecureListenerOptions): Promise<SecureListener> {
  const { clock, clientAuth, placeholder, protocol } = options;
  const common = {
    ...protocol,
    handshakeTimeout: options.handshakeTimeoutMs,
    allowHalfOpen: true,
    noDelay: true,
  };

  const times = createHandshakeTimes(clock);
  const secured = (socket: tls.TLSSocket, clientAuth?: ClientAuthState): void => {
    boundReading(socket);
    const handshakeMs = times.end(socket);
    const facts = new TlsFacts(socket, clientAuth);
    if (options.tunnel && facts.alpn === options.tunnel.protocol) {
      options.tunnel.accept(socket, describe(socket, facts).remoteAddress);
      return;
    }
    serve(options, socket, describe(socket, facts), { authorize: options.authorize, handshakeMs });
  };
  const failed = (error: NodeJS.ErrnoException, socket: tls.TLSSocket): void => {
    options.onHandshakeError(error.code ?? "unknown");
    socket.destroy();
  };
  const accept = (server: tls.Server, host?: string, identify?: Identify): void => {
    server.on("secureConnection", (socket: tls.TLSSocket) =>
      secured(socket, host !== undefined && identify ? { host, ...identify(socket) } : undefined),
    );
    server.on("tlsClientError", failed);
  };

  const shown = options.tunnel ? [...HTTP, options.tunnel.protocol] : HTTP;
  const server = tls.createServer({
    ...common,
    ...alpnOptions(shown),
    // Node makes one of the command line otherwise, and two processes could not resume each other's sessions.
    sessionIdContext: "skerry",
    key: placeholder.key,
    cert: placeholder.chain,
    SNICallback(name, done) {
      // Deno 2.9 asks even where the client sent no name; no context then means the server's own, the placeholder.
      if (!name) return done(null);
      const settle = (context: Context): void => {
        if (context) done(null, context);
        // Not a name (RFC 6066 §3), though some clients send it: as if there were none.
        else if (isIP(name)) done(null);
        // Ours a moment ago, when its hello was looked at.
        else done(Object.assign(new Error(`no host "${name}" is configured`), { code: "UNKNOWN_NAME" }));
      };
      const context = options.secureContext(name);
      if (context instanceof Promise) context.then(settle, () => settle(undefined));
      else settle(context);
    },
  });
  accept(server);

  /**
   * A host that asks for client certificates has a TLS server of its own, which never listens: whom to ask has to be known
   * before the handshake, and the runtimes' SNICallback cannot tell it. So sessions of one such host are of no use
   * at another, either.
   */
  const asking = new Map<string, { made: string; server: tls.Server }>();
  const askingServer = (host: string): tls.Server | undefined => {
    const ca = clientAuth?.ca(host);
    if (ca === undefined) {
      asking.delete(host);
      return undefined;
    }
    const { key, chain } = clientAuth?.pair(host) ?? placeholder;
    const made = `${ca}\n${chain}\n${key}`;
    const known = asking.get(host);
    if (known?.made === made) return known.server;
    const fresh = tls.createServer({
      ...common,
      ...alpnOptions(HTTP),
      key,
      cert: chain,
      ca,
      requestCert: true,
      // Refused by the handler, with an answer that says why, as a handshake in TLS 1.3 could not.
      rejectUnauthorized: false,
    });
    accept(
      fresh,
      host,
      createIdentify(() => clock.wall()),
    );
    asking.set(host, { made, server: fresh });
    return fresh;
  };

  /** Before its handshake a connection counts as well: a client may not have more of them waiting than it may have open. */
  const arriving = createConnections(() => options.limits().maxConnectionsPerClient);
  const arrive = (socket: net.Socket): (() => void) | undefined => {
    const from = socket.remoteAddress ?? "";
    if (!arriving.admit(from)) {
      options.onOffence("connections_per_client");
      socket.destroy();
      return undefined;
    }
    let here = true;
    const arrived = (): void => {
      if (here) arriving.release(from);
      here = false;
      socket.removeListener("close", arrived);
    };
    socket.once("close", arrived);
    return arrived;
  };

  const { alpnChallenge } = options;
  // Every hello is looked at before TLS has any work with it: a name that is not ours then costs little, and is told so.
  const front = net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    const arrived = arrive(socket);
    if (!arrived) return;
    peekHello(socket, { clock, timeoutMs: options.handshakeTimeoutMs }, ({ serverName, protocols }) => {
      const host = normalizeName(serverName);
      const special = alpnChallenge?.answerFor(host, protocols) ?? askingServer(host);
      if (special || !serverName || isIP(serverName)) {
        arrived();
        times.begin(socket);
        (special ?? server).emit("connection", socket);
        return;
      }
      const settle = (context: Context): void => {
        arrived();
        if (context) times.begin(socket);
        if (context && configuresEveryHandshake) {
          const shaken = { context, protocols: shown, timeoutMs: options.handshakeTimeoutMs };
          shakeHands(socket, shaken, secured, failed);
        } else if (context) server.emit("connection", socket);
        else {
          options.onHandshakeError("UNKNOWN_NAME");
          refuseName(socket);
        }
      };
      const context = options.secureContext(serverName);
      if (!(context instanceof Promise)) return settle(context);
      // Whoever waits may leave, with a reset too: then there is nobody to answer.
      socket.on("error", () => {});
      const settleIfThere = (found: Context): void => {
        if (!socket.destroyed) settle(found);
      };
      context.then(settleIfThere, () => settleIfThere(undefined));
    });
  });

  const address = await listen(front, options.address, "listen.https");
  // Set after binding, as failures to bind are the caller's; later ones (EMFILE on accept) pass and the next accept works.
  front.on("error", (error: NodeJS.ErrnoException) => options.onHandshakeError(error.code ?? "listener"));
  return {
    address,
    asksClients: clientAuth !== undefined,
    stop: () => stopListening(front),
    setTicketKeys: (keys) => server.setTicketKeys(keys),
  };
}
