/**
 * acme-client, wrapped once. It signs, keeps nonces in order and knows the protocol's objects; its HTTP (axios, with settings
 * that all clients of a process share, no timeouts, and waits of its own) is replaced by our transport, per client.
 */
import acme from "acme-client";
import { EdgeError } from "../errors.ts";
import { parseRetryAfter } from "./problem.ts";
import type { AcmeRequest, AcmeResponse, Transport } from "./transport.ts";

export type AcmeClient = InstanceType<typeof acme.Client>;

/** What is asked of acme-client's HTTP object; not in its types, so {@link connect} checks that it is there. */
interface ClientHttp {
  directoryCache: Record<string, unknown> | null;
  directoryTimestamp: number;
  request(
    url: string,
    method: string,
    options?: { data?: unknown; headers?: Record<string, string> },
  ): Promise<AcmeResponse>;
  getNonce(): Promise<string>;
  getDirectory(): Promise<Record<string, unknown>>;
  getMetaField(field: string): Promise<unknown>;
  maxBadNonceRetries: number;
}

export interface Connection {
  readonly client: AcmeClient;
  /** A field of the directory's `meta`. */
  meta(field: string): Promise<unknown>;
  /** The URL of one of the directory's resources; undefined where the CA does not have it. */
  resource(name: string): Promise<string | undefined>;
  /** What the last answer from `url` asked to wait, in milliseconds. */
  retryAfter(url: string): number | undefined;
}

/** What is the CA's and good for every order: it spares each of them two round trips. */
export interface Shared {
  directory: { readonly resources: Record<string, unknown>; readonly at: number } | undefined;
  /** RFC 8555 §6.5: every answer brings the next nonce. */
  readonly nonces: { readonly value: string; readonly at: number }[];
}

export function createShared(): Shared {
  return { directory: undefined, nonces: [] };
}

interface DirectoryOptions {
  directory: string;
  shared: Shared;
  transport: Transport;
  signal: AbortSignal;
  wall: () => number;
}

/** What the CA's directory holds, as of now or of the last minutes. */
export async function resourcesOf(options: DirectoryOptions): Promise<Record<string, unknown>> {
  const { directory, shared, transport, signal, wall } = options;
  const known = shared.directory;
  if (known && Math.abs(wall() - known.at) < DIRECTORY_LIFE_MS) return known.resources;
  const { data } = await transport({ url: directory, method: "GET" }, signal);
  if (!isDirectory(data)) return {};
  shared.directory = { resources: data, at: wall() };
  return data;
}

export interface ConnectOptions {
  directory: string;
  /** @default its own */
  shared?: Shared;
  /** PKCS#8 PEM. */
  accountKey: string;
  accountUrl: string | undefined;
  transport: Transport;
  signal: AbortSignal;
  wall: () => number;
  eab?: { readonly kid: string; readonly hmacKey: string } | undefined;
}

/** Five, as acme-client has it, would fail one order in ten where half of all nonces are refused. */
const BAD_NONCE_RETRIES = 12;
const MAX_NONCES = 64;
/** Payloads of what may be asked twice: what only reads, and `{}`, by which a challenge may be retried (RFC 8555 §6.3, §8.2). */
const REPEATABLE: ReadonlySet<string | undefined> = new Set(["", "e30"]);
/** A nonce that is refused costs the round trip that it was to spare. */
const NONCE_LIFE_MS = 10 * 60_000;
/** How long a CA may go on with what its directory said. */
const DIRECTORY_LIFE_MS = 5 * 60_000;

/** A client for one account and one piece of work: everything it does ends when `signal` aborts. */
export function connect(options: ConnectOptions): Connection {
  const {
    directory,
    accountKey,
    accountUrl,
    transport,
    signal,
    wall,
    eab,
    shared = createShared(),
  } = options;
  const client = new acme.Client({
    directoryUrl: directory,
    accountKey,
    ...(accountUrl !== undefined && { accountUrl }),
    ...(eab && { externalAccountBinding: { ...eab } }),
  });
  const { http } = client as unknown as { http?: ClientHttp };
  if (typeof http?.request !== "function" || typeof http.getNonce !== "function") {
    throw new EdgeError("INTERNAL", "acme-client has changed: its http.request is gone");
  }
  const waits = new Map<string, number>();
  const { nonces } = shared;
  const askNonce = http.getNonce.bind(http);
  const isYoung = (at: number, life: number): boolean => Math.abs(wall() - at) < life;
  if (shared.directory && isYoung(shared.directory.at, DIRECTORY_LIFE_MS)) {
    http.directoryCache = shared.directory.resources;
    // By its own clock; a connection does not live for the day after which it would look again.
    http.directoryTimestamp = Number.POSITIVE_INFINITY;
  }

  http.maxBadNonceRetries = BAD_NONCE_RETRIES;
  http.request = async (url, method, { data, headers } = {}) => {
    const request: AcmeRequest = {
      url,
      method,
      headers: { ...headers, "content-type": "application/jose+json" },
    };
    if (data !== undefined) request.data = data;
    if (method === "post") request.once = !REPEATABLE.has((data as { payload?: string }).payload);
    let response: AcmeResponse;
    try {
      response = await transport(request, signal);
    } catch (thrown) {
      // Its resources may have moved.
      shared.directory = undefined;
      throw thrown;
    }
    const wait = parseRetryAfter(response.headers["retry-after"], wall());
    if (wait === undefined) waits.delete(url);
    else waits.set(url, wait);
    if (url === directory && response.status < 400 && isDirectory(response.data)) {
      shared.directory = { resources: response.data, at: wall() };
    }
    // The nonces of badNonce and newNonce are used by the client itself.
    const nonce = response.headers["replay-nonce"];
    if (nonce && response.status < 400 && method !== "head") {
      if (nonces.length >= MAX_NONCES) nonces.shift();
      nonces.push({ value: nonce, at: wall() });
    }
    return response;
  };
  http.getNonce = async () => {
    // The youngest first.
    const nonce = nonces.pop();
    if (nonce && isYoung(nonce.at, NONCE_LIFE_MS)) return nonce.value;
    nonces.length = 0;
    return askNonce();
  };

  return {
    client,
    meta: (field) => http.getMetaField(field),
    async resource(name) {
      const url = (await http.getDirectory())[name];
      return typeof url === "string" ? url : undefined;
    },
    retryAfter: (url) => waits.get(url),
  };
}

/** A broken page, or one of a proxy on the way, is not to be kept. */
function isDirectory(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && "newOrder" in value;
}
