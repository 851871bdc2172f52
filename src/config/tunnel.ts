/** `tunnel`: how wormholes find this edge. */
import type { ListenAddress } from "./config.ts";
import { formatAddress, type Parsed, parseAddress } from "./parse.ts";

export interface TunnelInput {
  /** What agents dial, "host:port". @default the first configured host name and the port of `listen.https` */
  address?: string;
}

export interface TunnelConfig {
  /** `host:port`; undefined where there is no host name to take for it. */
  readonly address: string | undefined;
}

/** An address that can be dialled, as it stands. */
export function parseDialAddress(text: string): Parsed<string> {
  const parsed = parseAddress(text);
  if ("problem" in parsed) return parsed;
  const { host, port } = parsed.value;
  if (host === "::" || host === "0.0.0.0" || port === 0)
    return {
      problem: `nobody can dial ${JSON.stringify(text)}; write the name or address that others see, and its port`,
    };
  return { value: formatAddress(parsed.value) };
}

export function fillTunnel(
  tunnel: TunnelInput | undefined,
  hosts: readonly string[],
  https: ListenAddress,
): TunnelConfig {
  const name = hosts.find((host) => !host.includes("*"));
  return {
    address:
      tunnel?.address ?? (name === undefined || https.port === 0 ? undefined : `${name}:${https.port}`),
  };
}
