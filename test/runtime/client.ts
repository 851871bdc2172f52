/** A visitor: requests over HTTP/1.1 and HTTP/2 to a loopback port under any host name, and bounded load. */
import type { IncomingHttpHeaders } from "node:http";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import tls, { type DetailedPeerCertificate } from "node:tls";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Visit {
  readonly port: number;
  readonly host: string;
  /** PEM of the roots to trust; without it any certificate will do. */
  readonly ca?: string | undefined;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Uint8Array;
  /** A kept-alive connection; without it each visit makes its own. */
  readonly agent?: https.Agent;
  readonly boundMs?: number;
}

/** One HTTPS request over HTTP/1.1. */
export function visit(to: Visit): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = https.request({ ...target(to), agent: to.agent ?? false });
    request.setTimeout(to.boundMs ?? 15_000, () => request.destroy(new Error("no answer in time")));
    request.on("error", reject);
    request.on("response", (response) => collectAnswer(response).then(resolve, reject));
    request.end(to.body);
  });
}

/** One HTTP request to a plain port. */
export function visitPlain(to: Visit): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request({ ...target(to), agent: false });
    request.setTimeout(to.boundMs ?? 15_000, () => request.destroy(new Error("no answer in time")));
    request.on("error", reject);
    request.on("response", (response) => collectAnswer(response).then(resolve, reject));
    request.end(to.body);
  });
}

/** What node:https.request takes for a visit. */
export function target(to: Visit): https.RequestOptions & Pick<tls.ConnectionOptions, "ALPNProtocols"> {
  return {
    host: "127.0.0.1",
    port: to.port,
    servername: to.host,
    path: to.path ?? "/",
    method: to.method ?? "GET",
    headers: { host: to.host, ...to.headers },
    ALPNProtocols: ["http/1.1"],
    rejectUnauthorized: to.ca !== undefined,
    ...(to.ca !== undefined && { ca: to.ca }),
  };
}

export function collectAnswer(response: http.IncomingMessage): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    response.on("data", (chunk: Buffer) => chunks.push(chunk));
    response.on("error", reject);
    response.on("end", () =>
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        body: Buffer.concat(chunks).toString("utf8"),
      }),
    );
  });
}

/** An HTTP/2 connection. */
export function connect2(to: Visit): Promise<http2.ClientHttp2Session> {
  return new Promise((resolve, reject) => {
    const session = http2.connect(`https://${to.host}:${to.port}`, {
      createConnection: () =>
        tls.connect({
          host: "127.0.0.1",
          port: to.port,
          servername: to.host,
          ALPNProtocols: ["h2"],
          rejectUnauthorized: to.ca !== undefined,
          ...(to.ca !== undefined && { ca: to.ca }),
        }),
    });
    session.once("connect", () => resolve(session));
    session.once("error", reject);
  });
}

/** One request over an HTTP/2 connection. */
export function visit2(
  session: http2.ClientHttp2Session,
  to: Visit,
): Promise<Answer & { readonly trailers: IncomingHttpHeaders; readonly hints: number[] }> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ":method": to.method ?? "GET",
      ":path": to.path ?? "/",
      ":authority": to.host,
      ":scheme": "https",
      ...to.headers,
    });
    const chunks: Buffer[] = [];
    const hints: number[] = [];
    let head: http2.IncomingHttpHeaders & http2.IncomingHttpStatusHeader = {};
    let trailers: IncomingHttpHeaders = {};
    stream.setTimeout(to.boundMs ?? 15_000, () => stream.destroy(new Error("no answer in time")));
    stream.on("headers", (fields) => hints.push(Number(fields[":status"])));
    stream.on("response", (fields) => {
      head = fields;
    });
    stream.on("trailers", (fields) => {
      trailers = fields as IncomingHttpHeaders;
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("end", () =>
      resolve({
        status: Number(head[":status"]),
        headers: head as IncomingHttpHeaders,
        body: Buffer.concat(chunks).toString("utf8"),
        trailers,
        hints,
      }),
    );
    stream.end(to.body);
  });
}

export interface Handshake {
  readonly alpn: string | false | null;
  readonly certificate: DetailedPeerCertificate;
  readonly protocol: string | null;
}

/** A TLS handshake and no more. Rejects with the alert's error when it is refused. */
export function handshake(
  to: Pick<Visit, "port" | "ca"> & { host: string | undefined; alpn?: string[] },
): Promise<Handshake> {
  return new Promise((resolve, reject) => {
    const socket = tls.connect({
      host: "127.0.0.1",
      port: to.port,
      ...(to.host !== undefined && { servername: to.host }),
      ALPNProtocols: to.alpn ?? ["http/1.1"],
      rejectUnauthorized: to.ca !== undefined,
      ...(to.ca !== undefined && { ca: to.ca }),
    });
    socket.setTimeout(10_000, () => socket.destroy(new Error("no handshake in time")));
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("closed before the handshake was done")));
    socket.once("secureConnect", () => {
      resolve({
        alpn: socket.alpnProtocol,
        certificate: socket.getPeerCertificate(true),
        protocol: socket.getProtocol(),
      });
      socket.destroy();
    });
  });
}

export interface Tally {
  readonly done: number;
  /** What went wrong, one line each; empty is the aim. */
  readonly failures: readonly string[];
  /** Serial numbers of the certificates seen. */
  readonly serials: ReadonlySet<string>;
  /** X-Backend → answers. */
  readonly servers: ReadonlyMap<string, number>;
}

export interface Load {
  /** So far. */
  readonly tally: Tally;
  stop(): Promise<Tally>;
}

/**
 * Visits without pause: `workers` at a time, each on a kept-alive connection that it renews every tenth visit, so that
 * new handshakes are part of the load. Anything but a 200 is a failure.
 */
export function startLoad(to: Visit, workers = 4): Load {
  let running = true;
  const failures: string[] = [];
  const serials = new Set<string>();
  const servers = new Map<string, number>();
  const counts = { done: 0 };
  const tally: Tally = {
    get done() {
      return counts.done;
    },
    failures,
    serials,
    servers,
  };
  const freshAgent = (): https.Agent => {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0 });
    agent.on("keylog", (_line, socket: tls.TLSSocket) =>
      socket.once("secureConnect", () => serials.add(socket.getPeerCertificate().serialNumber)),
    );
    return agent;
  };
  const work = async (): Promise<void> => {
    let agent = freshAgent();
    for (let n = 1; running; n++) {
      try {
        const answer = await visit({ ...to, agent });
        if (answer.status === 200) counts.done++;
        else failures.push(`${answer.status} ${answer.body.slice(0, 80)}`);
        const server = String(answer.headers["x-backend"] ?? "");
        servers.set(server, (servers.get(server) ?? 0) + 1);
      } catch (error) {
        failures.push(String(error));
      }
      if (failures.length > 50) break; // Enough to judge by.
      if (n % 10 === 0) {
        agent.destroy();
        agent = freshAgent();
      }
    }
    agent.destroy();
  };
  const working = Promise.all(Array.from({ length: workers }, work));
  return {
    tally,
    async stop() {
      running = false;
      await working;
      return tally;
    },
  };
}
