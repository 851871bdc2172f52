/** `storage` where it is NATS: several edges that share what they know. */
import { formatAddress, type Parsed, parseAddress } from "./parse.ts";
import type { PemReader } from "./resolve.ts";

export interface NatsInput {
  /** Each as "host:port". */
  servers: string[];
  /** A file: `.creds` from `nsc`, "user:password", or a token. */
  credentials?: string;
  /** Speak TLS, with these PEM files. `{}` trusts what the system trusts. */
  tls?: NatsTlsInput;
  /** Servers that keep a copy of each value: 1, 3 or 5. @default 3 in a cluster, 1 at a single server */
  replicas?: number;
  /** What keeps this fleet's values from another's. @default "skerry" */
  bucket?: string;
  /** The folder of this edge's local copy. @default "./certs/fleet" beside the config file */
  copy?: string;
}

export interface NatsTlsInput {
  /** Authorities to trust. */
  ca?: string;
  /** Our certificate and its key, for servers that ask for one. */
  cert?: string;
  key?: string;
}

export interface NatsStorageInput {
  nats: NatsInput;
}

export interface FleetConfig {
  /** `host:port` each. */
  readonly servers: readonly string[];
  readonly bucket: string;
  readonly replicas: number | undefined;
  /** PEM texts. */
  readonly tls:
    | {
        readonly ca: string | undefined;
        readonly cert: string | undefined;
        readonly key: string | undefined;
      }
    | undefined;
  /** Absolute. */
  readonly credentialsFile: string | undefined;
  /** From the URL: "user:password", or a token. */
  readonly credentials: string | undefined;
  /** Absolute; the folder of the local copy. */
  readonly copy: string;
  /** Absolute; undefined: the environment has the key. */
  readonly keyFile: string | undefined;
}

export const NATS_SCHEME = "nats://";
export const DEFAULT_BUCKET = "skerry";
const DEFAULT_PORT = 4222;

/** `nats://[user:password@]host[:port],…`, as written. What it holds is not quoted: there may be a password. */
export function parseNatsUrl(text: string): Parsed<string> {
  const wrong = 'not nats://host:port,host:port; in a password before them write "%" as %25, "," as %2C';
  let servers: string[];
  try {
    ({ servers } = splitUrl(text));
  } catch {
    return { problem: wrong }; // A "%" that encodes nothing.
  }
  for (const server of servers) {
    const parsed = parseNatsServer(server);
    if (!("problem" in parsed)) continue;
    return {
      problem: text.includes("@") ? wrong : `not nats://host:port,host:port: ${parsed.problem}`,
    };
  }
  return { value: text };
}

/** `host:port` or `host`. */
export function parseNatsServer(text: string): Parsed<string> {
  const address = /:\d+$/.test(text) ? text : `${text}:${DEFAULT_PORT}`;
  const parsed = parseAddress(address);
  if ("problem" in parsed) return parsed;
  const { host, port } = parsed.value;
  if (text === "" || port === 0 || /[/?#]/.test(host))
    return { problem: `no server in ${JSON.stringify(text)}` };
  return { value: formatAddress(parsed.value) };
}

function splitUrl(text: string): { servers: string[]; credentials: string | undefined } {
  let credentials: string | undefined;
  const servers = text
    .slice(NATS_SCHEME.length)
    .split(",")
    .map((part) => part.replace(NATS_SCHEME, "").replace(/\/$/, ""))
    .map((part) => {
      const at = part.lastIndexOf("@");
      if (at >= 0) credentials ??= decodeURIComponent(part.slice(0, at));
      return part.slice(at + 1);
    });
  return { servers, credentials };
}

/** Undefined where storage is no NATS. */
export function fillFleet(
  storage: string | NatsStorageInput | undefined,
  fleetKey: string | undefined,
  files: Pick<PemReader, "absolute" | "read">,
): FleetConfig | undefined {
  const keyFile = fleetKey === undefined ? undefined : files.absolute(fleetKey);
  const copy = files.absolute("./certs/fleet");
  if (typeof storage !== "object") {
    if (!storage?.startsWith(NATS_SCHEME)) return undefined;
    const { servers, credentials } = splitUrl(storage);
    const addresses = servers.map(serverOf);
    const bare = { bucket: DEFAULT_BUCKET, replicas: undefined, tls: undefined, credentialsFile: undefined };
    return { ...bare, servers: addresses, credentials, copy, keyFile };
  }
  const { servers, credentials, tls, replicas, bucket = DEFAULT_BUCKET, copy: folder } = storage.nats;
  const at = ["storage", "nats", "tls"];
  const certificate = /-----BEGIN CERTIFICATE-----/;
  return {
    servers: servers.map(serverOf),
    bucket,
    replicas,
    tls: tls && {
      ca: tls.ca === undefined ? undefined : files.read(tls.ca, [...at, "ca"], certificate, "certificate"),
      cert:
        tls.cert === undefined
          ? undefined
          : files.read(tls.cert, [...at, "cert"], certificate, "certificate"),
      key:
        tls.key === undefined
          ? undefined
          : files.read(tls.key, [...at, "key"], /-----BEGIN (?:\w+ )?PRIVATE KEY-----/, "private key"),
    },
    credentialsFile: credentials === undefined ? undefined : files.absolute(credentials),
    credentials: undefined,
    copy: folder === undefined ? copy : files.absolute(folder),
    keyFile,
  };
}

/** Checked by then. */
function serverOf(text: string): string {
  const parsed = parseNatsServer(text);
  return "value" in parsed ? parsed.value : text;
}

/** How a place is told: without what opens it. */
export function fleetUrl({ servers }: Pick<FleetConfig, "servers">): string {
  return NATS_SCHEME + servers.join(",");
}
