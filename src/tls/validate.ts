/** Proves to the CA that a name is ours: for each authorization of an order, the first solver that fits it. */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { Connection } from "./acme.ts";
import { pollUntil } from "./poll.ts";
import { problemFrom } from "./problem.ts";

/** What a CA will look for. */
export interface ChallengeAnswer {
  /** The identifier's value, without "*.". */
  readonly name: string;
  readonly wildcard: boolean;
  readonly token: string;
  /** `token.thumbprint` (RFC 8555 §8.1). */
  readonly keyAuthorization: string;
  /** The account's URL at the CA. */
  readonly accountUrl: string;
  /** The challenge object as the CA gave it. */
  readonly challenge: Readonly<Record<string, unknown>>;
}

/**
 * One way to prove control over a name (RFC 8555 §8). Implementers MUST resolve only when the CA would find the answer, stop
 * soon after `signal` aborts, and throw EdgeError, with `retry: "any"` where the CA was told nothing.
 */
export interface Solver {
  /** The challenge's type, "http-01". */
  readonly type: string;
  fits(identifier: { readonly type: string; readonly value: string }, wildcard: boolean): boolean;
  /** Makes the answer known; the result takes it away again and never rejects. */
  present(answer: ChallengeAnswer, signal: AbortSignal): Promise<() => Promise<void>>;
}

export interface ValidateOptions {
  connection: Connection;
  order: { readonly authorizations: readonly string[] };
  host: string;
  /** In the order of preference. */
  solvers: readonly Solver[];
  thumbprint: string;
  clock: Clock;
  /** For each authorization. */
  timeoutMs: number;
  forgive(thrown: unknown): boolean;
  signal: AbortSignal;
}

type Authorization = Awaited<ReturnType<Connection["client"]["getAuthorizations"]>>[number];

/** Resolves when every authorization of the order is valid. Throws ACME_CHALLENGE_FAILED with what the CA saw. */
export async function validate(options: ValidateOptions): Promise<void> {
  const { connection, order, signal } = options;
  for (const authorization of await connection.client.getAuthorizations(order as never)) {
    if (authorization.status === "valid") continue;
    const { solver, offered } = choose(authorization, options);
    const token = (offered as { token?: string }).token ?? "";
    const takeAway = await solver.present(
      {
        name: authorization.identifier.value,
        wildcard: authorization.wildcard === true,
        token,
        keyAuthorization: `${token}.${options.thumbprint}`,
        accountUrl: connection.client.getAccountUrl(),
        challenge: offered as unknown as Record<string, unknown>,
      },
      signal,
    );
    try {
      await prove(authorization, offered, options);
    } finally {
      await takeAway();
    }
  }
}

function choose(authorization: Authorization, { solvers, host }: ValidateOptions) {
  const { identifier, challenges, status, wildcard = false } = authorization;
  if (status !== "pending") throw failed(`${host}: the authorization is ${status}`);
  for (const solver of solvers) {
    if (!solver.fits(identifier, wildcard)) continue;
    const offered = challenges.find(({ type }) => (type as string) === solver.type);
    if (offered) return { solver, offered };
  }
  const wanted = solvers
    .filter((each) => each.fits(identifier, wildcard))
    .map(({ type }) => type)
    .join(" or ");
  const given = challenges.map(({ type }) => type).join(", ");
  throw failed(
    wanted === ""
      ? `${host}: nothing that is configured can prove it; the CA offers ${given || "no challenge"}`
      : `${host}: the CA offers no ${wanted} challenge, but ${given || "none"}`,
  );
}

async function prove(
  { url }: Authorization,
  offered: Authorization["challenges"][number],
  { connection, host, clock, timeoutMs, forgive, signal }: ValidateOptions,
): Promise<void> {
  const { client } = connection;
  // One that was begun before a crash is under way; asking again would be refused by some CAs.
  if (offered.status === "pending") await client.completeChallenge(offered);
  await pollUntil({
    what: `${host}: validation by the CA`,
    clock,
    signal,
    timeoutMs,
    forgive,
    look: async () => {
      const [now] = await client.getAuthorizations({ authorizations: [url] } as never);
      if (now?.status === "valid") return true;
      if (now?.status !== "pending") throw challengeFailed(host, now);
      return connection.retryAfter(url);
    },
  });
}

function challengeFailed(
  host: string,
  authorization: { status?: string; challenges?: { error?: object }[] } | undefined,
): EdgeError {
  const error = authorization?.challenges?.find((each) => each.error)?.error;
  const problem = problemFrom(error, 0);
  const why = error ? problem.message : `the authorization is ${authorization?.status}`;
  return failed(`${host}: the CA could not validate it: ${why}`, problem);
}

function failed(message: string, cause?: unknown): EdgeError {
  return new EdgeError("ACME_CHALLENGE_FAILED", message, { source: "ca", cause });
}
