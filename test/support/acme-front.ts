/**
 * A front before Pebble for what Pebble 2.4 lacks: renewal information, profiles, refusals for limits, another clock, and any
 * answer that a test wants to spoil. It keeps the Host, so that Pebble's URLs lead through it.
 */
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { testCa } from "./ca.ts";
import type { Pebble } from "./pebble.ts";

const KINDS = {
  "/dir": "directory",
  "/nonce-plz": "newNonce",
  "/sign-me-up": "newAccount",
  "/order-plz": "newOrder",
  "/my-account": "account",
  "/my-order": "order",
  "/authZ": "authorization",
  "/chalZ": "challenge",
  "/finalize-order": "finalize",
  "/certZ": "certificate",
  "/renewal-info": "renewalInfo",
} as const;

export type AcmeStep = (typeof KINDS)[keyof typeof KINDS] | "other";

export interface FrontRequest {
  readonly method: string;
  readonly path: string;
  readonly step: AcmeStep;
  /** Of the JWS, where there is one. */
  readonly payload: Record<string, unknown>;
  /** When it came, by the wall clock. */
  readonly at: number;
}

export interface FrontReply {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** Answers in Pebble's place, or changes what Pebble says. "cut" closes the connection. */
export type FrontRule = (
  request: FrontRequest,
  forward: () => Promise<FrontReply>,
) => Promise<FrontReply | "cut"> | FrontReply | "cut";

export interface AcmeFront {
  readonly directory: string;
  /** PEM of the CA of its HTTPS: text and file. */
  readonly ca: string;
  readonly caPath: string;
  /** Everything that was asked, in order. */
  readonly requests: FrontRequest[];
  /** The rule of a step, in place of the one before; undefined takes it away. */
  on(step: AcmeStep, rule: FrontRule | undefined): void;
  /** Offered in the directory's meta; orders for others are refused. @default none */
  profiles: Record<string, string> | undefined;
  /** The window for a certificate; undefined: the CA has no renewal information. */
  renewal: ((ariId: string) => object | undefined) | undefined;
  /** Retry-After of renewal information, in seconds. @default 3600 */
  renewalRetryAfter: number;
  /** Added to the `Date` of every answer. */
  skewMs: number;
  /** Whether connections are kept for further requests. @default false */
  keepAlive: boolean;
  /** Orders that were made, by host. */
  orders(host?: string): FrontRequest[];
  /** Takes all rules away. */
  reset(): void;
  close(): Promise<void>;
}

export async function startAcmeFront(pebble: Pebble): Promise<AcmeFront> {
  const folder = await mkdtemp(join(tmpdir(), "skerry-front-"));
  const ca = await testCa();
  const { key, chain } = await ca.issueFor(["localhost", "127.0.0.1"]);
  const caPath = join(folder, "ca.pem");
  await writeFile(caPath, ca.rootPem);
  const rules = new Map<AcmeStep, FrontRule>();
  const replaced = new Set<unknown>();
  let made: FrontRequest[] = [];
  const upstream = new URL(pebble.directory);
  const agent = new https.Agent({ ca: pebble.ca, keepAlive: true });

  const server = https.createServer({ key, cert: chain }, async (incoming, outgoing) => {
    let text = "";
    try {
      for await (const chunk of incoming) text += chunk;
    } catch {
      // The client has gone, and nobody waits for an answer.
      return;
    }
    const path = incoming.url ?? "";
    const found = Object.entries(KINDS).find(([prefix]) => path === prefix || path.startsWith(`${prefix}/`));
    const request: FrontRequest = {
      method: incoming.method ?? "",
      path,
      step: found?.[1] ?? "other",
      payload: payloadOf(text),
      at: Date.now(),
    };
    front.requests.push(request);
    const forward = (): Promise<FrontReply> =>
      new Promise((resolve, reject) => {
        const options = {
          agent,
          host: upstream.hostname,
          port: upstream.port,
          path,
          method: request.method,
          headers: { ...incoming.headers, connection: "keep-alive" },
        };
        const asked = https.request(options, (answer) => {
          let body = "";
          answer.setEncoding("utf8").on("data", (more: string) => {
            body += more;
          });
          answer.on("end", () => {
            const headers: Record<string, string> = {};
            for (const [name, value] of Object.entries(answer.headers)) headers[name] = String(value);
            resolve({ status: answer.statusCode ?? 0, headers, body });
          });
        });
        asked.on("error", reject);
        asked.end(text);
      });
    try {
      const rule = rules.get(request.step);
      const plain = (): Promise<FrontReply> => answer(request, forward);
      const reply = rule ? await rule(request, plain) : await plain();
      if (reply === "cut") return void incoming.socket.destroy();
      const { "content-length": _, "transfer-encoding": __, connection: ___, ...headers } = reply.headers;
      headers.date = new Date(Date.now() + front.skewMs).toUTCString();
      outgoing.writeHead(reply.status, { ...headers, connection: front.keepAlive ? "keep-alive" : "close" });
      outgoing.end(request.method === "HEAD" ? undefined : reply.body);
    } catch {
      // Pebble is away: so is the front.
      incoming.socket.destroy();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const origin = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;

  // Pebble 2.4 searches all authorizations for each new order, and may hold one of them for a request that waits for the
  // search: asked for both at once it stops for good, once in some thousand orders.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = (forward: () => Promise<FrontReply>): Promise<FrontReply> => {
    const turn = last.then(forward);
    last = turn.catch(() => {});
    return turn;
  };

  const answer = async (request: FrontRequest, forward: () => Promise<FrontReply>): Promise<FrontReply> => {
    if (request.step === "directory") {
      const reply = await forward();
      const directory = JSON.parse(reply.body) as { meta?: object; renewalInfo?: string };
      if (front.renewal) directory.renewalInfo = `${origin}/renewal-info`;
      if (front.profiles) directory.meta = { ...directory.meta, profiles: front.profiles };
      return { ...reply, body: JSON.stringify(directory) };
    }
    if (request.step === "renewalInfo") {
      const window = front.renewal?.(request.path.slice("/renewal-info/".length));
      if (!window) return problem(404, "malformed", "no such certificate");
      const headers = { "content-type": "application/json", "retry-after": String(front.renewalRetryAfter) };
      return { status: 200, headers, body: JSON.stringify(window) };
    }
    if (request.step === "authorization") return inTurn(forward);
    if (request.step !== "newOrder") return forward();
    const { profile, replaces } = request.payload;
    if (profile !== undefined && !(String(profile) in (front.profiles ?? {}))) {
      return problem(400, "invalidProfile", `profile ${String(profile)} is not offered`);
    }
    if (replaces !== undefined && replaced.has(replaces)) {
      return problem(409, "alreadyReplaced", "the certificate was replaced already");
    }
    const reply = await inTurn(forward);
    // Pebble 2.4 takes an authorization of earlier for one order in a hundred even where it is told to for none: what is
    // wrong with a name would go unseen then. The client orders once more.
    if (reply.status < 300 && statusOf(reply) === "ready") {
      const again = problem(400, "badNonce", "ready without a validation");
      return { ...again, headers: { ...reply.headers, ...again.headers } };
    }
    if (reply.status < 300) {
      made.push(request);
      if (replaces !== undefined) replaced.add(replaces);
    }
    return reply;
  };

  const front: AcmeFront = {
    directory: `${origin}/dir`,
    ca: ca.rootPem,
    caPath,
    requests: [],
    on: (step, rule) => void (rule ? rules.set(step, rule) : rules.delete(step)),
    profiles: undefined,
    renewal: undefined,
    renewalRetryAfter: 3600,
    skewMs: 0,
    keepAlive: false,
    orders: (host) => made.filter((each) => host === undefined || hostsOf(each).includes(host)),
    reset() {
      rules.clear();
      made = [];
      front.requests.length = 0;
      front.profiles = undefined;
      front.renewal = undefined;
      front.renewalRetryAfter = 3600;
      front.skewMs = 0;
      front.keepAlive = false;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      agent.destroy();
      await rm(folder, { recursive: true, force: true });
    },
  };
  return front;
}

function statusOf({ body }: FrontReply): unknown {
  return (JSON.parse(body) as { status?: unknown }).status;
}

/** A refusal as RFC 7807 has it. */
export function problem(status: number, type: string, detail: string, retryAfter?: string): FrontReply {
  return {
    status,
    headers: {
      "content-type": "application/problem+json",
      ...(retryAfter !== undefined && { "retry-after": retryAfter }),
    },
    body: JSON.stringify({ type: `urn:ietf:params:acme:error:${type}`, detail, status }),
  };
}

export function hostsOf({ payload }: FrontRequest): string[] {
  return ((payload.identifiers ?? []) as { value: string }[]).map(({ value }) => value);
}

function payloadOf(text: string): Record<string, unknown> {
  try {
    const { payload } = JSON.parse(text) as { payload: string };
    return JSON.parse(Buffer.from(payload, "base64url").toString()) as Record<string, unknown>;
  } catch {
    return {}; // No JWS, or one without a payload.
  }
}
