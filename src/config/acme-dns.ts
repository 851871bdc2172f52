/** How challenges are answered by DNS: what `acme.dns` and its neighbours mean once they are read. */
import { isIP } from "node:net";
import type { ListenAddress } from "./config.ts";
import type {
  AcmeDnsInput,
  AcmeInput,
  CloudflareInput,
  DnsHook,
  Rfc2136Input,
  TsigKeyInput,
} from "./input.ts";
import { type Parsed, parseAddress } from "./parse.ts";
import type { Problem } from "./problems.ts";

export const CHALLENGE_TYPES = ["http-01", "tls-alpn-01", "dns-01", "dns-persist-01"] as const;
export type ChallengeType = (typeof CHALLENGE_TYPES)[number];

export const TSIG_ALGORITHMS = ["hmac-sha256", "hmac-sha384", "hmac-sha512"] as const;

export interface TsigKeyConfig {
  /** Lower case, without trailing dot. */
  readonly name: string;
  readonly algorithm: (typeof TSIG_ALGORITHMS)[number];
  /** Base64. */
  readonly secret: string;
}

export type AcmeDnsConfig =
  | { readonly kind: "hook"; readonly hook: DnsHook }
  | {
      readonly kind: "rfc2136";
      /** The primary server of the zone: an address. */
      readonly server: ListenAddress;
      /** Undefined: it is asked for. */
      readonly zone: string | undefined;
      readonly key: TsigKeyConfig | undefined;
    }
  | {
      readonly kind: "cloudflare";
      /** Where the token is, never the token: it is read each time, so that it can be changed. */
      readonly token: { readonly env: string } | { readonly file: string };
      /** The API's base URL, without slash at the end. */
      readonly api: string;
    };

export interface AcmeChallengeConfig {
  /** For DNS-01. */
  readonly dns?: AcmeDnsConfig | undefined;
  /** In the order of preference; undefined for what fits: DNS-01 where `dns` is set, else HTTP-01. */
  readonly challenges?: readonly ChallengeType[] | undefined;
  /** Whether a name is looked at before an order; undefined: where the CA is a public one. */
  readonly preflight?: boolean | undefined;
  /** Recursive DNS servers for checks; undefined for the system's. */
  readonly dnsServers?: readonly ListenAddress[] | undefined;
}

const CLOUDFLARE_API = "https://api.cloudflare.com/client/v4";
const ENV = /^env:([A-Za-z_][A-Za-z0-9_]*)$/;

/** "env:CLOUDFLARE_API_TOKEN": the name of an environment variable. */
export function parseEnvReference(text: string): Parsed<string> {
  const name = ENV.exec(text)?.[1];
  // What else stands here may be the secret itself, so it is not repeated.
  return name === undefined
    ? {
        problem:
          'write "env:NAME" with the name of an environment variable: secrets do not belong in configs',
      }
    : { value: text };
}

/** A DNS server's address, with or without a port. */
export function parseDnsServer(text: string): Parsed<ListenAddress> {
  if (isIP(text)) return { value: { host: text, port: 53 } };
  const parsed = parseAddress(text);
  if ("value" in parsed && isIP(parsed.value.host) && parsed.value.port > 0) return parsed;
  return { problem: `not the address of a DNS server, such as "10.0.0.53:53": ${JSON.stringify(text)}` };
}

/** Of an API; plain HTTP only on this machine. */
export function parseApiUrl(text: string): Parsed<string> {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const local = url && /^(localhost|127\.|\[::1\])/.test(url.hostname);
  if (url?.protocol === "https:" || (local && url.protocol === "http:"))
    return { value: text.replace(/\/+$/, "") };
  return { problem: `not an https URL: ${JSON.stringify(text)}` };
}

export function isDnsHook(value: unknown): value is DnsHook {
  const { present, remove } = (value ?? {}) as Record<string, unknown>;
  return typeof present === "function" && typeof remove === "function";
}

type ParsedAcme = Omit<AcmeInput, "dns" | "dnsServers"> & { dns?: unknown; dnsServers?: unknown };

/** Notes in `problems` what the shape could not tell. */
export function fillChallenges(
  acme: ParsedAcme,
  absolute: (path: string) => string,
  problems: Problem[],
): AcmeChallengeConfig {
  return {
    dns: acme.dns === undefined ? undefined : fillDnsChallenge(acme.dns as AcmeDnsInput, absolute, problems),
    challenges: acme.challenges && [...new Set(acme.challenges)],
    preflight: acme.preflight,
    dnsServers: acme.dnsServers as readonly ListenAddress[] | undefined,
  };
}

function fillDnsChallenge(
  dns: AcmeDnsInput,
  absolute: (path: string) => string,
  problems: Problem[],
): AcmeDnsConfig {
  if (isDnsHook(dns)) return { kind: "hook", hook: dns };
  switch (dns.provider) {
    case "rfc2136":
      return fillRfc2136(dns, problems);
    case "cloudflare":
      return fillCloudflare(dns, absolute, problems);
    default:
      return dns satisfies never;
  }
}

function fillRfc2136({ server, zone, key }: Rfc2136Input, problems: Problem[]): AcmeDnsConfig {
  return {
    kind: "rfc2136",
    server: server as unknown as ListenAddress,
    zone,
    key: key && {
      name: key.name.toLowerCase().replace(/\.$/, ""),
      algorithm: key.algorithm ?? "hmac-sha256",
      secret: tsigSecret(key, problems),
    },
  };
}

function tsigSecret({ secret }: TsigKeyInput, problems: Problem[]): string {
  const note = (message: string): string => {
    problems.push({ path: ["acme", "dns", "key", "secret"], message });
    return "";
  };
  const variable = ENV.exec(secret)?.[1];
  const text = variable === undefined ? secret : process.env[variable];
  if (text === undefined || text === "") return note(`the environment variable ${variable} is not set`);
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text))
    return note("must be base64, as `keymgr -t` or `tsig-keygen` print it");
  return text;
}

function fillCloudflare(
  { token, tokenFile, api }: CloudflareInput,
  absolute: (path: string) => string,
  problems: Problem[],
): AcmeDnsConfig {
  if ((token === undefined) === (tokenFile === undefined)) {
    problems.push({ path: ["acme", "dns"], message: 'needs either tokenFile or token: "env:NAME"' });
  }
  const variable = token === undefined ? undefined : ENV.exec(token)?.[1];
  if (variable !== undefined && !process.env[variable]) {
    problems.push({
      path: ["acme", "dns", "token"],
      message: `the environment variable ${variable} is not set`,
    });
  }
  return {
    kind: "cloudflare",
    token: variable === undefined ? { file: absolute(tokenFile ?? "") } : { env: variable },
    api: api ?? CLOUDFLARE_API,
  };
}
