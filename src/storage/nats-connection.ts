/** A connection to NATS that never gives up, and what its failures mean. */
import { JetStreamApiError } from "@nats-io/jetstream";
import {
  type Authenticator,
  connect,
  credsAuthenticator,
  errors,
  type NatsConnection,
  type NodeConnectionOptions,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from "@nats-io/transport-node";
import { type Clock, sleep } from "../clock.ts";
import { EdgeError, messageOf } from "../errors.ts";

export interface NatsPlace {
  /** `host:port` each. */
  readonly servers: readonly string[];
  readonly bucket: string;
  /** Copies of each value. @default 3 in a cluster, 1 at a single server */
  readonly replicas?: number | undefined;
  /** PEM texts; present: TLS is spoken. */
  readonly tls?:
    | {
        readonly ca?: string | undefined;
        readonly cert?: string | undefined;
        readonly key?: string | undefined;
      }
    | undefined;
  /** A `.creds` file's text, `user:password`, or a token. */
  readonly credentials?: string | undefined;
}

/** NATS answers within a heartbeat or is not there: visitors wait for no storage, but tokens are looked up. */
export const REQUEST_MS = 2000;
const DIAL_MS = 3000;
const AGAIN_MS = 500;

function authenticator(credentials: string): Authenticator {
  if (credentials.includes("BEGIN NATS USER JWT")) return credsAuthenticator(Buffer.from(credentials));
  const [, user, password] = /^([^:\s]+):(\S+)$/.exec(credentials.trim()) ?? [];
  return user === undefined
    ? tokenAuthenticator(credentials.trim())
    : usernamePasswordAuthenticator(user, password);
}

/**
 * Dials until somebody answers; after that the connection comes back by itself, however long it takes.
 *
 * @throws EdgeError STORAGE_UNREADABLE where the server refuses these credentials or its certificate is not trusted, which
 * time does not mend
 */
export async function connectToNats(
  place: NatsPlace,
  options: { clock: Clock; name: string; signal: AbortSignal; onFailure: (why: string) => void },
): Promise<NatsConnection> {
  const { clock, name, signal, onFailure } = options;
  const { servers, tls, credentials } = place;
  const settings: NodeConnectionOptions = {
    servers: [...servers],
    name,
    timeout: DIAL_MS,
    maxReconnectAttempts: -1,
    reconnectTimeWait: AGAIN_MS,
    pingInterval: 10_000,
    maxPingOut: 2,
    // Rights that are taken and given back are no reason to stay away for ever.
    ignoreAuthErrorAbort: true,
    ...(credentials !== undefined && { authenticator: authenticator(credentials) }),
    ...(tls && {
      tls: {
        ...(tls.ca !== undefined && { ca: tls.ca }),
        ...(tls.cert !== undefined && { cert: tls.cert }),
        ...(tls.key !== undefined && { key: tls.key }),
      },
    }),
  };
  for (;;) {
    signal.throwIfAborted();
    try {
      const connection = await connect(settings);
      if (!signal.aborted) return connection;
      await connection.close();
    } catch (thrown) {
      const at = placeName(place);
      if (inChain(thrown, (each) => each instanceof errors.AuthorizationError))
        throw new EdgeError(
          "STORAGE_UNREADABLE",
          `storage: ${at} refuses these credentials: check storage.nats.credentials`,
          { source: "storage", cause: thrown },
        );
      if (inChain(thrown, (each) => /certificate|self.signed|CERT_/i.test(messageOf(each))))
        throw new EdgeError(
          "STORAGE_UNREADABLE",
          `storage: the certificate of ${at} is not trusted (${messageOf(thrown)}): set storage.nats.tls.ca`,
          { source: "storage", cause: thrown },
        );
      onFailure(reasonOf(thrown, place));
    }
    await sleep(clock, AGAIN_MS, signal);
  }
}

/** A server that asks for a certificate and is shown none, or a stranger's, hangs up or is silent, and says nothing of it. */
function reasonOf(thrown: unknown, { tls }: NatsPlace): string {
  const why = messageOf(thrown);
  if (tls === undefined || /ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH/.test(why)) return why;
  const advice =
    tls.cert === undefined
      ? "where its servers ask for a client certificate, set storage.nats.tls.cert and key"
      : "where its servers ask for a client certificate, they may not trust that of storage.nats.tls.cert";
  return `${why}; ${advice}`;
}

export function placeName({ servers }: NatsPlace): string {
  return `nats://${servers.join(",")}`;
}

/** Whether somebody who asks again later may be answered: nothing is wrong but that NATS is not there, or has no leader. */
export function isAway(thrown: unknown): boolean {
  return inChain(
    thrown,
    (each) =>
      each instanceof errors.TimeoutError ||
      each instanceof errors.NoRespondersError ||
      each instanceof errors.ConnectionError ||
      each instanceof errors.ClosedConnectionError ||
      each instanceof errors.DrainingConnectionError ||
      (each instanceof errors.RequestError && each.isNoResponders()) ||
      (each instanceof JetStreamApiError && each.status === 503) ||
      (each instanceof Error && each.name === "JetStreamNotEnabled"),
  );
}

/** Whether a write found another revision than it was told. */
export function isConflict(thrown: unknown): boolean {
  return inChain(
    thrown,
    (each) => each instanceof JetStreamApiError && (each.code === 10071 || each.code === 10164),
  );
}

/** Whether there is no such stream, or nothing in it that was asked for. */
export function isMissing(thrown: unknown): boolean {
  return inChain(thrown, (each) => each instanceof JetStreamApiError && each.status === 404);
}

/** Whether what was to be deleted had expired, or somebody deleted it. */
export function isGone(thrown: unknown): boolean {
  return inChain(thrown, (each) => each instanceof JetStreamApiError && [10043, 10057].includes(each.code));
}

/** One line for the operator. */
export function natsError(
  doing: "read" | "write",
  what: string,
  place: NatsPlace,
  thrown: unknown,
): EdgeError {
  if (thrown instanceof EdgeError) return thrown;
  const code = doing === "read" ? "STORAGE_UNREADABLE" : "STORAGE_UNWRITABLE";
  const facts = { source: "storage", cause: thrown } as const;
  const at = placeName(place);
  let denied: InstanceType<typeof errors.PermissionViolationError> | undefined;
  inChain(thrown, (each) => {
    if (each instanceof errors.PermissionViolationError) denied = each;
    return denied !== undefined;
  });
  if (denied)
    return new EdgeError(
      code,
      `storage: this NATS user has too few rights at ${at}: no ${denied.operation} on ${JSON.stringify(denied.subject)}; docs/fleet.md lists what it needs`,
      facts,
    );
  if (isAway(thrown)) {
    const known = doing === "read" ? "try again" : "whether it was stored is not known: look, and try again";
    return new EdgeError(
      code,
      `storage: cannot ${doing} ${what}: ${at} did not answer (${messageOf(thrown)}); ${known}`,
      facts,
    );
  }
  return new EdgeError(code, `storage: cannot ${doing} ${what} at ${at} (${messageOf(thrown)})`, facts);
}

export function awayError(
  doing: "read" | "write",
  what: string,
  place: NatsPlace,
  reason: string,
): EdgeError {
  return new EdgeError(
    doing === "read" ? "STORAGE_UNREADABLE" : "STORAGE_UNWRITABLE",
    doing === "read"
      ? `storage: cannot read ${what}: ${placeName(place)} is away (${reason})`
      : `storage: cannot write ${what} while ${placeName(place)} is away (${reason}); nothing was changed, try again when it is back`,
    { source: "storage", cause: new errors.ConnectionError(reason) },
  );
}

function inChain(thrown: unknown, matches: (each: unknown) => boolean): boolean {
  for (let each = thrown, depth = 0; each !== undefined && depth < 5; depth++) {
    if (matches(each)) return true;
    each = (each as { cause?: unknown } | null)?.cause;
  }
  return false;
}
