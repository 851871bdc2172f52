/** The small languages of a backend's settings: addresses of servers and of name servers, and ranges of statuses. */
import { isIP } from "node:net";
import type { ServerConfig, StatusRange } from "./config.ts";
import { formatAddress, type Parsed, parseAddress } from "./parse.ts";

const quote = (text: string): string => JSON.stringify(text);
const unbracket = (host: string): string => host.replace(/^\[(.*)\]$/, "$1");

type ParsedServer = Omit<ServerConfig, "weight">;

const SERVER_PORTS: Record<string, number> = { http: 80, https: 443, h2c: 80 };
const PROTOCOLS = "http, https, h2c, unix, srv+http, srv+https, srv+h2c";

/** sockaddr_un holds 108 bytes on Linux and 104 elsewhere, the last of them a zero. */
const LONGEST_SOCKET_PATH = 103;

/** "http://10.0.0.5:8000": a protocol, a host and a port, and nothing else. Or "unix:/run/app.sock", "srv+http://name". */
export function parseServer(text: string): Parsed<ParsedServer> {
  if (/^unix:/i.test(text)) return parseSocket(text);
  const match = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/i.exec(text);
  if (!match) {
    const meant = `http://${text}`;
    const hint = /:\d+$/.test(text) && URL.canParse(meant) ? `; did you mean ${quote(meant)}?` : "";
    return { problem: `not a URL: ${quote(text)}${hint}` };
  }
  const written = (match[1] ?? "").toLowerCase();
  const rest = match[2] ?? "";
  // The URL parser checks hosts and ports of http only, so the others borrow its rules.
  const borrowed = `http://${rest}`;
  if (!URL.canParse(borrowed)) return { problem: `not a URL: ${quote(text)}` };
  const url = new URL(borrowed);
  const srv = written.startsWith("srv+");
  const scheme = srv ? written.slice("srv+".length) : written;
  const defaultPort = Object.hasOwn(SERVER_PORTS, scheme) ? SERVER_PORTS[scheme] : undefined;
  if (defaultPort === undefined)
    return { problem: `protocol ${quote(written)} is none of ${PROTOCOLS}: ${quote(text)}` };
  // The text itself stays out of the message: it holds a password.
  if (url.username || url.password)
    return { problem: "a server's URL takes no user name or password; let middleware set the header" };
  if (url.pathname !== "/" || url.search || url.hash || /[/?#]/.test(rest.replace(/\/$/, "")))
    return {
      problem: `a server's URL takes no path or query: write ${quote(`${written}://${url.host}`)}, not ${quote(text)}`,
    };
  const digits = /:(\d+)\/?$/.exec(rest)?.[1];
  const port = digits === undefined ? defaultPort : Number(digits);
  if (port === 0) return { problem: `port 0 cannot be connected to: ${quote(text)}` };
  const host = unbracket(url.hostname);
  const server = { id: text, protocol: scheme as ServerConfig["protocol"], host };
  if (!srv) return { value: { ...server, port } };
  if (isIP(host)) return { problem: `an address has no SRV records: ${quote(text)}` };
  if (digits !== undefined)
    return {
      problem: `SRV records say the port: write ${quote(`${written}://${host}`)}, not ${quote(text)}`,
    };
  return { value: { ...server, port: 0, srv: true } };
}

/** Two servers of one backend with the same key are one. */
export function serverKey({ socket, srv, ...address }: ParsedServer): string {
  return socket ?? (srv ? `srv+${address.host}` : formatAddress(address));
}

/** "unix:/run/app.sock". A path that is not absolute is one relative to the config; `resolve.ts` completes it. */
function parseSocket(text: string): Parsed<ParsedServer> {
  const written = text.slice("unix:".length);
  const socket = written.startsWith("//") ? written.slice(2) : written;
  if (socket === "") return { problem: `no path in ${quote(text)}; write "unix:/run/app.sock"` };
  if (socket.includes("\0")) return { problem: "a path holds no zero byte" };
  if (Buffer.byteLength(socket) > LONGEST_SOCKET_PATH)
    return { problem: `a Unix socket's path is at most ${LONGEST_SOCKET_PATH} bytes long: ${quote(text)}` };
  return { value: { id: text, protocol: "http", host: "localhost", port: 0, socket } };
}

/** "200-399", "204", "200-299,401". */
export function parseStatuses(text: string): Parsed<readonly StatusRange[]> {
  const ranges: StatusRange[] = [];
  for (const part of text.split(",")) {
    const match = /^\s*([1-5]\d\d)(?:\s*-\s*([1-5]\d\d))?\s*$/.exec(part);
    const from = Number(match?.[1]);
    const to = Number(match?.[2] ?? match?.[1]);
    if (!match || to < from || from < 200)
      return { problem: `not a range of statuses from 200 to 599, such as "200-399": ${quote(text)}` };
    ranges.push([from, to]);
  }
  return { value: ranges };
}

/** An address of a DNS server, with or without port. */
export function parseNameServer(text: string): Parsed<string> {
  if (isIP(text)) return { value: text.includes(":") ? `[${text}]:53` : `${text}:53` };
  const parsed = parseAddress(text);
  if ("value" in parsed && isIP(parsed.value.host) && parsed.value.port > 0 && !text.startsWith(":"))
    return { value: text };
  return {
    problem: `not the address of a DNS server, such as "10.0.0.53" or "10.0.0.53:53": ${quote(text)}`,
  };
}
