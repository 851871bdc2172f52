/** What of a request decides its server under `consistentHash`. */
import type { HashOnConfig } from "../config/balancing.ts";
import { getHeader, getHeaders, type HeaderList } from "../exchange/headers.ts";

/** The key of a request with these fields from this client; undefined where it has none. */
export type KeyReader = (headers: HeaderList, clientAddress: string) => string | undefined;

/** The first of header, cookie and client address that is asked for and there. */
export function keyReader({ header, cookie, clientAddress }: HashOnConfig): KeyReader {
  const name = header?.toLowerCase();
  return (headers, client) => {
    const fromHeader = name === undefined ? undefined : getHeader(headers, name);
    if (fromHeader) return fromHeader;
    const fromCookie = cookie === undefined ? undefined : cookieOf(headers, cookie);
    if (fromCookie) return fromCookie;
    return clientAddress ? client : undefined;
  };
}

/** The value of a cookie (RFC 6265 §4.2.1), as it stands; HTTP/2 may send each in a line of its own. */
function cookieOf(headers: HeaderList, name: string): string | undefined {
  for (const line of getHeaders(headers, "cookie"))
    for (const pair of line.split(";")) {
      const at = pair.indexOf("=");
      if (at >= 0 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim();
    }
  return undefined;
}
