/** The small languages inside config strings. Each returns the value, or the problem in words for the operator. */
import { isIP } from "node:net";
import { domainToASCII, fileURLToPath } from "node:url";
import ipaddr from "ipaddr.js";
import type { ListenAddress } from "./config.ts";
import { NATS_SCHEME, parseNatsUrl } from "./fleet.ts";

export type Parsed<T> = { readonly value: T } | { readonly problem: string };

const quote = (text: string): string => JSON.stringify(text);
const unbracket = (host: string): string => host.replace(/^\[(.*)\]$/, "$1");

/** `host:port`, `[v6]:port` or `:port` for every address. */
export function parseAddress(text: string): Parsed<ListenAddress> {
  const match = /^(\[[^\]]*\]|[^:[\]]*):(\d+)$/.exec(text);
  if (!match) {
    if (/^\d+$/.test(text)) return { problem: `no host in ${quote(text)}; write "[::]:${text}"` };
    if (isIP(text) === 6) return { problem: `no port in ${quote(text)}; write "[${text}]:443"` };
    return { problem: `not host:port: ${quote(text)}` };
  }
  const host = unbracket(match[1] ?? "");
  const port = Number(match[2]);
  if (port > 65_535) return { problem: `port ${match[2]} is not between 0 and 65535` };
  if (match[1]?.startsWith("[") && isIP(host) !== 6)
    return { problem: `not an IPv6 address: ${quote(host)}` };
  if (host === "*" || /[\s/@]/.test(host)) return { problem: `not host:port: ${quote(text)}` };
  return { value: { host: host === "" ? "::" : host, port } };
}

/** How an address is written back. */
export function formatAddress({ host, port }: ListenAddress): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** What a host is configured under: a host name, or a wildcard for one label, "*.example.com". */
export function parseServedName(text: string): Parsed<string> {
  if (!text.includes("*")) return parseHostName(text);
  const rest = text.startsWith("*.") ? text.slice(2) : "*";
  const parsed = rest.includes("*") ? undefined : parseHostName(rest);
  if (!parsed)
    return { problem: 'a wildcard stands for one whole label at the start, as in "*.example.com"' };
  if ("problem" in parsed) return parsed;
  if (!parsed.value.includes("."))
    return { problem: `no CA signs a wildcard for all of ${quote(parsed.value)}` };
  return parsed.value.length > 251 ? { problem: "not a host name" } : { value: `*.${parsed.value}` };
}

/** The name of a TSIG key, written like a domain name. */
export function parseKeyName(text: string): Parsed<string> {
  return /^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?$/.test(text) && text.length <= 250
    ? { value: text.toLowerCase().replace(/\.$/, "") }
    : { problem: `not the name of a key: ${quote(text)}` };
}

/** A host name as certificates carry it: lower-case A-labels without trailing dot. */
export function parseHostName(text: string): Parsed<string> {
  if (text.includes("*"))
    return { problem: "a wildcard does not belong here; hosts of a config file may be one, with acme.dns" };
  if (text.includes("://")) return { problem: "a host name, not a URL, belongs here" };
  if (isIP(unbracket(text))) return { problem: "an IP address is not a host name" };
  if (/:\d*$/.test(text)) return { problem: "a host name takes no port; ports are set in listen" };
  // Conversion drops line breaks and decodes percent signs; Deno's lets through what Node's refuses. So what may go in
  // is checked before, and what comes out after.
  if (!/^[A-Za-z0-9.\-\u0080-\u{10FFFF}]+$/u.test(text)) return { problem: "not a host name" };
  const name = domainToASCII(text.replace(/\.$/, "")).toLowerCase();
  if (isIP(name)) return { problem: `means the IP address ${name}, which is not a host name` };
  const labels = name.split(".");
  const wellFormed = labels.every((label) => /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(label));
  if (name.length > 253 || !wellFormed || /^(\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? ""))
    return { problem: "not a host name" };
  return { value: name };
}

/** An address or CIDR range, as it stands. */
export function parseRange(text: string): Parsed<string> {
  const valid = text.includes("/") ? ipaddr.isValidCIDR(text) : isIP(text) !== 0;
  return valid ? { value: text } : { problem: `not an IP address or CIDR range: ${quote(text)}` };
}

/** The URL of an ACME directory. */
export function parseDirectory(text: string): Parsed<string> {
  const protocol = URL.canParse(text) ? new URL(text).protocol : undefined;
  if (protocol === "https:") return { value: text };
  return { problem: protocol === "http:" ? `must be https: ${quote(text)}` : `not a URL: ${quote(text)}` };
}

/** Where permission for names is asked; one's own service, so plain HTTP will do. */
export function parseAsk(text: string): Parsed<string> {
  if (!URL.canParse(text)) return { problem: `not a URL: ${quote(text)}` };
  const { protocol, username, password } = new URL(text);
  // The text itself stays out of the message: it holds a password.
  if (username || password) return { problem: "takes no user name or password" };
  if (protocol === "http:" || protocol === "https:") return { value: text };
  return { problem: `must be http: or https: ${quote(text)}` };
}

/** Only the shape: whether mail arrives is for the CA to find out. */
export function parseEmail(text: string): Parsed<string> {
  return /^[^\s@,]+@[^\s@,]+\.[^\s@,.]+$/.test(text)
    ? { value: text }
    : { problem: `not an e-mail address: ${quote(text)}` };
}

/** As CAs name their profiles; it goes into an order as it stands. */
export function parseProfile(text: string): Parsed<string> {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(text)
    ? { value: text }
    : { problem: `not the name of a profile: ${quote(text)}` };
}

/** base64 or base64url. Never quoted: it is a secret. */
export function parseMacKey(text: string): Parsed<string> {
  return /^[A-Za-z0-9+/_-]{16,}={0,2}$/.test(text)
    ? { value: text }
    : { problem: "not a base64url key, as the CA shows it" };
}

/** Names of backends go into tokens, metrics and log lines. */
export function parseBackendName(text: string): Parsed<string> {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(text)
    ? { value: text }
    : { problem: "a backend's name is 1 to 63 letters, digits, dots, dashes and underscores" };
}

/** `file:` with a folder, `nats://` with servers, or `memory:`, which forgets everything at the end and is there for tests. */
export function parseStorage(text: string): Parsed<string> {
  if (text.startsWith("file://") && !isFileUrl(text))
    return { problem: `not the URL of a folder of this machine: ${quote(text)}; write "file:/FOLDER"` };
  if (text === "memory:" || /^file:.+/.test(text)) return { value: text };
  if (text.startsWith(NATS_SCHEME)) return parseNatsUrl(text);
  if (text === "file:") return { problem: 'no folder in "file:"; write "file:./certs"' };
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(text)?.[1];
  // What follows the scheme stays out of the message: it may hold a password.
  if (scheme !== undefined) return { problem: `"${scheme}:" is no kind of storage; write "file:./certs"` };
  return { problem: `not file:FOLDER: ${quote(text)}; did you mean ${quote(`file:${text}`)}?` };
}

function isFileUrl(text: string): boolean {
  try {
    fileURLToPath(text);
    return true;
  } catch {
    return false; // Another machine's, or a "%" that encodes nothing.
  }
}
