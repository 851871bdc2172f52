/** The config's shape, in zod: which fields there are, of which type and range, and what their strings must say. */
import type { Hono, MiddlewareHandler } from "hono";
import { z } from "zod";
import { DEFAULT_LIMITS, type Http2Limits, type Limits } from "../exchange/limits.ts";
import {
  CHALLENGE_TYPES,
  isDnsHook,
  parseApiUrl,
  parseDnsServer,
  parseEnvReference,
  TSIG_ALGORITHMS,
} from "./acme-dns.ts";
import { balancingShape } from "./balancing.ts";
import type { ListenAddress, ServerConfig, StatusRange } from "./config.ts";
import { type NatsInput, type NatsStorageInput, type NatsTlsInput, parseNatsServer } from "./fleet.ts";
import type {
  AcmeInput,
  AppHostInput,
  BackendHostInput,
  BackendInput,
  BackendTlsInput,
  ClientAuthInput,
  CloudflareInput,
  DnsHook,
  DnsInput,
  EabInput,
  EdgeConfig,
  FallbackInput,
  HealthInput,
  HostTlsInput,
  HstsInput,
  ListenInput,
  OnDemandInput,
  Rfc2136Input,
  ServerInput,
  TlsInput,
  TsigKeyInput,
} from "./input.ts";
import { locationName, locationShape } from "./location.ts";
import {
  type Parsed,
  parseAddress,
  parseAsk,
  parseBackendName,
  parseDirectory,
  parseEmail,
  parseHostName,
  parseKeyName,
  parseMacKey,
  parseProfile,
  parseRange,
  parseServedName,
  parseStorage,
} from "./parse.ts";
import { parseNameServer, parseServer, parseStatuses } from "./parse-server.ts";
import { describeValue } from "./problems.ts";
import { explainShape, retryingShape } from "./retrying.ts";
import { parseDialAddress, type TunnelInput } from "./tunnel.ts";

/** Says that a value is not even of the kind that a branch of a union takes; never shown. */
export const NOT_OF_THE_KIND: string = "not of the kind";

/** Let's Encrypt production. */
export const DEFAULT_DIRECTORY = "https://acme-v02.api.letsencrypt.org/directory";

/** setTimeout counts in a signed 32-bit integer. */
const LONGEST_MS = 2 ** 31 - 1;

/** Exactly the fields of `I`: with `satisfies`, one too many or too few breaks the build. */
type Shape<I> = Record<keyof I & string, z.ZodType>;

const text = <T>(parse: (text: string) => Parsed<T>): z.ZodPipe<z.ZodString, z.ZodTransform<T, string>> =>
  z.string().transform((value, context) => {
    const parsed = parse(value);
    if ("value" in parsed) return parsed.value;
    context.addIssue({ code: "custom", message: parsed.problem });
    return z.NEVER;
  });

const whole = (least: number, most: number = LONGEST_MS): z.ZodInt => {
  const error = ({ input }: { input?: unknown }): string =>
    `must be a whole number from ${least} to ${most}, got ${describeValue(input)}`;
  return z.int({ error }).min(least, { error }).max(most, { error });
};
const milliseconds = (): z.ZodOptional<z.ZodInt> => whole(1).optional();

const listen = z.strictObject({
  http: text(parseAddress).optional(),
  https: text(parseAddress).optional(),
  admin: text(parseAddress).optional(),
} satisfies Shape<ListenInput>);

const keyType = z.enum(["p256", "p384", "rsa2048", "rsa4096"]);
const profile = text(parseProfile);
/** What every CA has. */
const authority = {
  trustedCa: z.string().min(1).optional(),
  email: text(parseEmail).optional(),
  agreeToTerms: z.boolean().optional(),
  eab: z
    .strictObject({ kid: z.string().min(1), hmacKey: text(parseMacKey) } satisfies Shape<EabInput>)
    .optional(),
  profile: profile.optional(),
  preferredChain: z.string().min(1).max(200).optional(),
};

const acmeDns = z.union([
  z.custom<DnsHook>(isDnsHook, { error: () => NOT_OF_THE_KIND }),
  z.discriminatedUnion("provider", [
    z.strictObject({
      provider: z.literal("rfc2136"),
      server: text(parseDnsServer),
      zone: text(parseHostName).optional(),
      key: z
        .strictObject({
          name: text(parseKeyName),
          algorithm: z.enum(TSIG_ALGORITHMS).optional(),
          secret: z.string().min(1),
        } satisfies Shape<TsigKeyInput>)
        .optional(),
    } satisfies Shape<Rfc2136Input>),
    z.strictObject({
      provider: z.literal("cloudflare"),
      tokenFile: z.string().min(1).optional(),
      token: text(parseEnvReference).optional(),
      api: text(parseApiUrl).optional(),
    } satisfies Shape<CloudflareInput>),
  ]),
]);

const acme = z.strictObject({
  directory: text(parseDirectory).optional(),
  ...authority,
  keyType: keyType.optional(),
  concurrency: whole(1, 1000).optional(),
  fallback: z
    .array(z.strictObject({ directory: text(parseDirectory), ...authority } satisfies Shape<FallbackInput>))
    .optional(),
  dns: acmeDns.optional(),
  challenges: z.array(z.enum(CHALLENGE_TYPES)).min(1).optional(),
  preflight: z.boolean().optional(),
  dnsServers: z.array(text(parseDnsServer)).min(1).optional(),
} satisfies Shape<AcmeInput>);

const server = z.union([
  text(parseServer),
  z.strictObject({
    url: text(parseServer),
    weight: whole(1, 1000).optional(),
    location: locationName.optional(),
  } satisfies Shape<ServerInput>),
]);

const health = z.strictObject({
  path: z
    .string()
    .regex(/^\/[!-~]*$/, {
      error: ({ input }) => `must start with "/" and hold no space: ${describeValue(input)}`,
    })
    .optional(),
  status: text(parseStatuses).optional(),
  body: z.string().min(1).optional(),
  tcp: z.boolean().optional(),
  startUnhealthy: z.boolean().optional(),
  intervalMs: milliseconds(),
  timeoutMs: milliseconds(),
  rise: whole(1, 1000).optional(),
  fall: whole(1, 1000).optional(),
} satisfies Shape<HealthInput>);

const backendTls = z.strictObject({
  ca: z.string().min(1).optional(),
  cert: z.string().min(1).optional(),
  key: z.string().min(1).optional(),
  serverName: text(parseHostName).optional(),
  verify: z.boolean().optional(),
} satisfies Shape<BackendTlsInput>);

const dns = z.strictObject({
  servers: z.array(text(parseNameServer)).optional(),
  minTtlMs: milliseconds(),
  maxTtlMs: milliseconds(),
  keepStaleMs: whole(0).optional(),
} satisfies Shape<DnsInput>);

const backend = z.strictObject({
  ...balancingShape,
  ...retryingShape,
  servers: z.array(server).optional(),
  tls: backendTls.optional(),
  health: health.optional(),
  connectTimeoutMs: milliseconds(),
  responseTimeoutMs: whole(0).optional(),
  bodyTimeoutMs: whole(0).optional(),
  totalTimeoutMs: whole(0).optional(),
  maxIdleConnections: whole(0, 65_535).optional(),
  idleTimeoutMs: milliseconds(),
} satisfies Shape<BackendInput>);

/** By structure, not by class: the user's Hono may be another copy than ours. */
// biome-ignore lint/suspicious/noExplicitAny: an app may be typed with any Env
export function isApp(value: unknown): value is Hono<any, any, any> {
  return (
    typeof value === "object" &&
    value !== null &&
    typeof (value as { fetch?: unknown }).fetch === "function" &&
    Array.isArray((value as { routes?: unknown }).routes)
  );
}

const middleware = z.custom<MiddlewareHandler>((value) => typeof value === "function", {
  error: ({ input }) => `expected middleware (a function), got ${describeValue(input)}`,
});

const tls = z.strictObject({
  cert: z.string().min(1),
  key: z.string().min(1),
} satisfies Shape<HostTlsInput>);

const app = z.custom<Hono>(isApp, { error: NOT_OF_THE_KIND });

const ownApp = z.custom<Hono>(isApp, {
  error: ({ input }) => `expected a Hono app, got ${describeValue(input)}`,
});

const hsts = z.union([
  z.boolean(),
  z.strictObject({
    maxAgeSeconds: whole(0).optional(),
    includeSubDomains: z.boolean().optional(),
    preload: z.boolean().optional(),
  } satisfies Shape<HstsInput>),
]);

const clientAuth = z.strictObject({
  ca: z.string().min(1),
  required: z.boolean().optional(),
} satisfies Shape<ClientAuthInput>);

const host = z.union([
  app,
  // One shape, so that a misspelt field is told and not the shape that it may have been meant for; `crosscheck.ts` says
  // that it is either a backend or an app.
  z.strictObject({
    backend: z.string().optional(),
    app: ownApp.optional(),
    use: z.array(middleware).optional(),
    tls: tls.optional(),
    profile: profile.optional(),
    keyType: keyType.optional(),
    hsts: hsts.optional(),
    clientAuth: clientAuth.optional(),
  } satisfies Shape<BackendHostInput & AppHostInput>),
]);

const allow = z.custom<NonNullable<OnDemandInput["allow"]>>((value) => typeof value === "function", {
  error: ({ input }) => `expected a function, got ${describeValue(input)}`,
});

const onDemand = z.strictObject({
  allow: allow.optional(),
  ask: text(parseAsk).optional(),
  backend: z.string().optional(),
  use: z.array(middleware).optional(),
  app: ownApp.optional(),
  hsts: hsts.optional(),
  handshakeWaitMs: whole(0, 60_000).optional(),
  maxHosts: whole(1, 1_000_000).optional(),
} satisfies Shape<OnDemandInput>);

const edgeTls = z.strictObject({
  profile: z.enum(["intermediate", "modern"]).optional(),
  folder: z.string().min(1).optional(),
} satisfies Shape<TlsInput>);

const tunnel = z.strictObject({
  address: text(parseDialAddress).optional(),
} satisfies Shape<TunnelInput>);

const natsStorage = z.strictObject({
  nats: z.strictObject({
    servers: z.array(text(parseNatsServer)).min(1),
    credentials: z.string().min(1).optional(),
    tls: z
      .strictObject({
        ca: z.string().min(1).optional(),
        cert: z.string().min(1).optional(),
        key: z.string().min(1).optional(),
      } satisfies Shape<NatsTlsInput>)
      .optional(),
    replicas: whole(1, 5).optional(),
    bucket: z
      .string()
      .regex(/^[A-Za-z0-9_-]{1,64}$/, { error: () => "1 to 64 letters, digits, dashes and underscores" })
      .optional(),
    copy: z.string().min(1).optional(),
  } satisfies Shape<NatsInput>),
} satisfies Shape<NatsStorageInput>);

/** A number for each default; 0 only where the default's documentation gives it a meaning. */
function bounds<T extends object>(defaults: T, zeroAllowed: readonly string[] = []): z.ZodRawShape {
  const names = Object.keys(defaults).filter(
    (name) => typeof (defaults as Record<string, unknown>)[name] === "number",
  );
  return Object.fromEntries(
    names.map((name) => [name, whole(zeroAllowed.includes(name) ? 0 : 1).optional()]),
  );
}

const limits = z.strictObject({
  ...bounds(DEFAULT_LIMITS, ["minBodyBytesPerSecond", "maxDrainBytes"]),
  http2: z.strictObject(bounds(DEFAULT_LIMITS.http2, ["headerTableBytes"])).optional(),
});

const config = z.strictObject({
  $schema: z.string().optional(),
  listen: listen.optional(),
  storage: z.union([text(parseStorage), natsStorage]).optional(),
  fleetKey: z.string().min(1).optional(),
  ...locationShape,
  acme: acme.optional(),
  backends: z.record(text(parseBackendName), backend).optional(),
  dns: dns.optional(),
  hosts: z.record(text(parseServedName), host),
  onDemand: onDemand.optional(),
  tls: edgeTls.optional(),
  tunnel: tunnel.optional(),
  trustedProxies: z.array(text(parseRange)).optional(),
  limits: limits.optional(),
  drainTimeoutMs: milliseconds(),
  accessLog: z.boolean().optional(),
  explain: explainShape,
  logLevel: z.enum(["debug", "info", "warn", "error"]).optional(),
} satisfies Shape<EdgeConfig>);

/** The whole, to be parsed with and to be walked. */
export const configSchema: z.ZodType = config;

type ParsedServer = Omit<ServerConfig, "weight">;

/** A config whose strings are read, before defaults. */
export interface ParsedConfig extends Omit<EdgeConfig, "listen" | "backends" | "limits"> {
  readonly listen?: { readonly [K in keyof ListenInput]?: ListenAddress };
  readonly backends?: Record<string, ParsedBackend>;
  readonly limits?: Partial<Omit<Limits, "http2">> & { readonly http2?: Partial<Http2Limits> };
}

export interface ParsedBackend extends Omit<BackendInput, "servers" | "health"> {
  readonly health?: Omit<HealthInput, "status"> & { readonly status?: readonly StatusRange[] };
  readonly servers?: readonly (
    | ParsedServer
    | { readonly url: ParsedServer; readonly weight?: number; readonly location?: string }
  )[];
}

/** The part of the config without code, for editors. */
export function configJsonSchema(): unknown {
  return z.toJSONSchema(config, {
    io: "input",
    unrepresentable: "any",
    override({ zodSchema, jsonSchema }) {
      // Code cannot stand in JSON: neither a Hono app nor middleware nor a function.
      if (jsonSchema.anyOf)
        jsonSchema.anyOf = jsonSchema.anyOf.filter((branch) => Object.keys(branch).length > 0);
      if (!(zodSchema instanceof z.ZodObject) || !jsonSchema.properties) return;
      const { properties } = jsonSchema;
      if ("app" in properties) jsonSchema.required = "ask" in properties ? ["ask", "backend"] : ["backend"];
      for (const name of ["use", "app", "allow"]) delete properties[name];
    },
  });
}
