/** Before anything is measured: every proxy answers alike, over the protocols it claims, with both rules. */
import { connect as connectHttp2 } from "node:http2";
import { request as requestHttp1 } from "node:https";
import { SMALL_BODY_BYTES } from "./backends.ts";
import { DENY_HEADER, EDGE_HEADER, HOSTNAME, type Protocol, type RunningTarget } from "./targets/target.ts";

const TIMEOUT_MS = 5_000;

interface Answer {
  readonly status: number;
  readonly edge: string | undefined;
  readonly bytes: number;
  readonly tls: string;
}

/** Throws with what is wrong. */
export async function checkTarget(target: RunningTarget): Promise<void> {
  const { port, rules } = target.site;
  for (const protocol of target.target.protocols) {
    const ask = protocol === "h1" ? askHttp1 : askHttp2;
    const plain = await ask(port, {});
    const found = `${plain.status} with ${plain.bytes} bytes over ${plain.tls}`;
    if (plain.status !== 200 || plain.bytes !== SMALL_BODY_BYTES || plain.tls !== "TLSv1.3") {
      throw new Error(`${target.target.name} answers ${protocol} with ${found}`);
    }
    if ((plain.edge !== undefined) !== rules) {
      throw new Error(
        `${target.target.name} ${rules ? "does not set" : "sets"} ${EDGE_HEADER} on ${protocol}`,
      );
    }
    const denied = await ask(port, { [DENY_HEADER]: "1" });
    if (denied.status !== (rules ? 403 : 200)) {
      throw new Error(`${target.target.name} answers ${denied.status} to ${DENY_HEADER} on ${protocol}`);
    }
  }
}

type Ask = (port: number, headers: Record<string, string>) => Promise<Answer>;

const askHttp1: Ask = (port, headers) =>
  bounded("h1", (resolve, reject) => {
    const request = requestHttp1({
      host: "127.0.0.1",
      port,
      servername: HOSTNAME,
      rejectUnauthorized: false,
      agent: false,
      headers: { host: HOSTNAME, ...headers },
    });
    request.on("error", reject).on("response", (response) => {
      const tls = (response.socket as unknown as { getProtocol(): string }).getProtocol();
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      response.on("end", () => {
        const edge = response.headers[EDGE_HEADER];
        resolve({ status: response.statusCode ?? 0, edge: edge?.toString(), bytes, tls });
      });
    });
    request.end();
  });

const askHttp2: Ask = (port, headers) =>
  bounded("h2", (resolve, reject) => {
    const session = connectHttp2(`https://${HOSTNAME}:${port}`, {
      host: "127.0.0.1",
      rejectUnauthorized: false,
    });
    session.on("error", reject);
    const stream = session.request({ ":path": "/", ...headers });
    let [status, bytes] = [0, 0];
    let edge: string | undefined;
    stream.on("error", reject).on("response", (head) => {
      status = head[":status"] ?? 0;
      edge = head[EDGE_HEADER]?.toString();
    });
    stream.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
    });
    stream.on("end", () => {
      const tls = (session.socket as unknown as { getProtocol(): string }).getProtocol();
      session.close();
      resolve({ status, edge, bytes, tls });
    });
  });

function bounded(
  protocol: Protocol,
  ask: (resolve: (answer: Answer) => void, reject: (error: Error) => void) => void,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer over ${protocol} in 5 s`)), TIMEOUT_MS);
    ask(
      (answer) => {
        clearTimeout(timer);
        resolve(answer);
      },
      (error) => {
        clearTimeout(timer);
        reject(error);
      },
    );
  });
}
