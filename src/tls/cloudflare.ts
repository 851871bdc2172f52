/** TXT records at Cloudflare, by its API (v4). The token needs Zone:Read and DNS:Edit. */
import { readFile } from "node:fs/promises";
import type { AcmeDnsConfig } from "../config/config.ts";
import { EdgeError, messageOf } from "../errors.ts";
import type { DnsProvider } from "./dns-challenge.ts";
import { parentOf } from "./dns-records.ts";
import { dnsFailed } from "./dns-wire.ts";

export type CloudflareConfig = Extract<AcmeDnsConfig, { kind: "cloudflare" }>;

const TIMEOUT_MS = 30_000;
const TTL_S = 60;
/** "An identical record already exists." */
const DUPLICATE = 81058;

interface Answer {
  readonly success?: boolean;
  readonly errors?: readonly { readonly code?: number; readonly message?: string }[];
  readonly result?: unknown;
}

export function createCloudflare({ token, api }: CloudflareConfig): DnsProvider {
  const call = async (method: string, path: string, signal: AbortSignal, body?: object): Promise<Answer> => {
    const secret = await readToken(token);
    let response: Response;
    let text: string;
    try {
      response = await fetch(`${api}${path}`, {
        method,
        headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
        redirect: "error",
        signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
        ...(body && { body: JSON.stringify(body) }),
      });
      text = await response.text();
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      throw dnsFailed(`Cloudflare's API cannot be reached: ${messageOf(thrown)}`);
    }
    const answer = parse(text);
    if (response.ok && answer?.success === true) return answer;
    if (answer?.errors?.some(({ code }) => code === DUPLICATE)) return answer;
    const said = answer?.errors?.map(({ code, message }) => `${message ?? ""} (${code})`).join("; ");
    const advice =
      response.status === 401 || response.status === 403
        ? ": the token must be valid and have Zone:Read and DNS:Edit"
        : "";
    throw dnsFailed(`Cloudflare answers ${response.status} ${said ?? ""}`.trim() + advice);
  };

  const zones = new Map<string, string>();
  /** The id of the zone that `name` lies in. */
  const zoneOf = async (name: string, signal: AbortSignal): Promise<string> => {
    for (let top = parentOf(name); top.includes("."); top = parentOf(top)) {
      const known = zones.get(top);
      if (known !== undefined) return known;
      const { result } = await call("GET", `/zones?name=${encodeURIComponent(top)}`, signal);
      const id = firstId(result);
      if (id === undefined) continue;
      zones.set(top, id);
      return id;
    }
    throw dnsFailed(`Cloudflare has no zone for ${name} that the token may see`);
  };

  return {
    async present(name, value, signal) {
      const zone = await zoneOf(name, signal);
      const record = { type: "TXT", name, content: quoted(value), ttl: TTL_S };
      await call("POST", `/zones/${zone}/dns_records`, signal, record);
    },
    async remove(name, value, signal) {
      const zone = await zoneOf(name, signal);
      const query = new URLSearchParams({ type: "TXT", name, content: quoted(value) });
      const { result } = await call("GET", `/zones/${zone}/dns_records?${query}`, signal);
      const id = firstId(result);
      if (id !== undefined) await call("DELETE", `/zones/${zone}/dns_records/${id}`, signal);
    },
  };
}

/** As it wants the content of TXT records. */
const quoted = (value: string): string => `"${value}"`;

async function readToken(from: CloudflareConfig["token"]): Promise<string> {
  if ("env" in from) {
    const value = process.env[from.env]?.trim();
    if (value) return value;
    throw unreadable(`the environment variable ${from.env} is not set`);
  }
  try {
    const value = (await readFile(from.file, "utf8")).trim();
    if (/^[!-~]+$/.test(value)) return value;
  } catch (cause) {
    throw unreadable(`${from.file} cannot be read`, cause);
  }
  throw unreadable(`${from.file} holds no token`);
}

function unreadable(message: string, cause?: unknown): EdgeError {
  return new EdgeError("DNS_FAILED", `acme.dns: ${message}`, { source: "operator", retry: "any", cause });
}

function parse(text: string): Answer | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    // A proxy's or a broken server's page: the status tells what happened.
    return undefined;
  }
}

/** Ids go into paths, so only what looks like one. */
function firstId(result: unknown): string | undefined {
  const id = Array.isArray(result) ? (result[0] as { id?: unknown } | undefined)?.id : undefined;
  return typeof id === "string" && /^[A-Za-z0-9]+$/.test(id) ? id : undefined;
}
