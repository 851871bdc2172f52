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

export interface ConnectOptions {
  directory: string;
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
const MAX_NONCES = 16;

/** A client for one account and one piece of work: everything it does ends when `signal` aborts. */
export function connect(options: ConnectOptions): Connection {
  const { directory, accountKey, accountUrl, transport, signal, wall, eab } = options;
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
  const nonces: string[] = [];
  const askNonce = http.getNonce.bind(http);

  http.maxBadNonceRetries = BAD_NONCE_RETRIES;
  http.request = async (url, method, { data, headers } = {}) => {
    const request: AcmeRequest = {
      url,
      method,
      headers: { ...headers, "content-type": "application/jose+json" },
    };
    if (data !== undefined) request.data = data;
    const response = await transport(request, signal);
    const wait = parseRetryAfter(response.headers["retry-after"], wall());
    if (wait === undefined) waits.delete(url);
    else waits.set(url, wait);
    // RFC 8555 §6.5: every answer brings the next nonce, which saves a round trip per request.
    // Those of badNonce and newNonce are used by the client itself.
    const nonce = response.headers["replay-nonce"];
    if (nonce && response.status < 400 && method !== "head" && nonces.length < MAX_NONCES) nonces.push(nonce);
    return response;
  };
  http.getNonce = async () => nonces.pop() ?? askNonce();

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

/** A CSR for one name, signed by `key`. */
export async function certificateRequest(host: string, key: string): Promise<Buffer> {
  const [, csr] = await acme.crypto.createCsr({ altNames: [host] }, key);
  return csr;
}
