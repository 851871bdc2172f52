/**
 * HTTP-01 (RFC 8555 §8.3). With one account no state is shared: the answer to a token is `token.thumbprint`, so every edge
 * that knows the account's key answers every challenge of its hosts, whichever edge began the order.
 *
 * With several CAs there are several accounts, and a token says nothing of which one asks. Then, and only then, the issuer
 * notes a token's thumbprint in storage before it tells the CA, and an edge that does not know a token looks there.
 */
import type { Storage } from "../storage/storage.ts";
import type { Solver } from "./validate.ts";

export const CHALLENGE_PREFIX = "/.well-known/acme-challenge/";
/** base64url, and nothing that could be more than a token. */
const TOKEN = /^[A-Za-z0-9_-]{1,128}$/;
const THUMBPRINT = /^[A-Za-z0-9_-]{43}$/;
const MAX_WAITING = 100;
/** A CA asks within minutes; what is older was left by a crash. */
const NOTE_LIFE_MS = 86_400_000;
const FOLDER = "challenges/";

export interface HttpChallenge {
  /** An account key's thumbprint (RFC 7638), base64url. `account`: which one of several, the first being the main one; without it, the only one. */
  setThumbprint(thumbprint: string, account?: string): void;
  /** The body for a request path, or undefined: not a challenge, no account yet, or several of which any could be meant. */
  answer(path: string): string | undefined;
  /**
   * As {@link answer}, but waits until an account is known or `signal` aborts, and looks a token up where there are several
   * accounts: the CA may ask an edge that has only just started for an order that a peer began, and counts what it cannot
   * answer as a failure of the host.
   */
  answerSoon(path: string, signal: AbortSignal): Promise<string | undefined>;
  /** Those of all accounts that are known. */
  thumbprints?(): readonly string[];
  /** From now on `token` is asked for by the account with `thumbprint`; the result ends that. Never rejects for storage's sake when one account is known. */
  expect?(token: string, thumbprint: string): Promise<() => Promise<void>>;
}

export interface HttpChallengeOptions {
  /** Shared by the fleet; needed where there are several accounts and several edges. */
  storage?: Storage;
  wall?: () => number;
}

export function createHttpChallenge({ storage, wall }: HttpChallengeOptions = {}): HttpChallenge {
  const thumbprints = new Map<string, string>();
  const expected = new Map<string, string>();
  const waiting = new Set<() => void>();

  const single = (): string | undefined => {
    const known = new Set(thumbprints.values());
    return known.size === 1 ? [...known][0] : undefined;
  };
  const answer = (path: string): string | undefined => {
    const token = tokenOf(path);
    if (token === undefined) return undefined;
    const thumbprint = expected.get(token) ?? single();
    return thumbprint === undefined ? undefined : `${token}.${thumbprint}`;
  };
  /** Several accounts, and a token that this edge did not begin. */
  const lookUp = async (path: string): Promise<string | undefined> => {
    const token = tokenOf(path);
    if (token === undefined || thumbprints.size === 0) return undefined;
    // Unreadable storage: the main account's answer is right more often than none.
    const noted = await storage?.load(FOLDER + token).catch(() => undefined);
    const [thumbprint = ""] = noted ? new TextDecoder().decode(noted).split(" ") : [];
    const [main] = thumbprints.values();
    return `${token}.${THUMBPRINT.test(thumbprint) ? thumbprint : main}`;
  };

  return {
    setThumbprint(value, account) {
      if (account === undefined) thumbprints.clear();
      thumbprints.set(account ?? "", value);
      for (const go of waiting) go();
    },
    answer,
    thumbprints: () => [...new Set(thumbprints.values())],
    async answerSoon(path, signal) {
      const known = answer(path);
      // Bounded, so that a stranger's requests cannot pile up; the CA itself makes a handful.
      if (known !== undefined || tokenOf(path) === undefined || signal.aborted) return known;
      if (waiting.size >= MAX_WAITING) return undefined;
      let go = (): void => {};
      const changed = new Promise<void>((resolve) => {
        go = resolve;
      });
      waiting.add(go);
      signal.addEventListener("abort", go, { once: true });
      try {
        if (thumbprints.size === 0) await changed;
        return answer(path) ?? (await lookUp(path));
      } finally {
        signal.removeEventListener("abort", go);
        waiting.delete(go);
      }
    },
    async expect(token, thumbprint) {
      expected.set(token, thumbprint);
      const shared = storage && thumbprints.size > 1 && TOKEN.test(token) ? FOLDER + token : undefined;
      if (shared && storage) {
        const text = `${thumbprint} ${new Date(wall?.() ?? 0).toISOString()}\n`;
        await storage.store(shared, new TextEncoder().encode(text));
      }
      return async () => {
        expected.delete(token);
        // What stays is swept at the next start.
        if (shared) await storage?.delete(shared).catch(() => {});
      };
    },
  };
}

/** Removes notes that a crash left behind. */
export async function sweepChallenges(storage: Storage, wall: number): Promise<void> {
  for (const key of await storage.list(FOLDER)) {
    const bytes = await storage.load(key);
    const at = Date.parse((bytes ? new TextDecoder().decode(bytes).trim() : "").split(" ")[1] ?? "");
    if (!(at > wall - NOTE_LIFE_MS)) await storage.delete(key);
  }
}

/** HTTP-01 as an issuer uses it. */
export function httpSolver(challenge: HttpChallenge): Solver {
  return {
    type: "http-01",
    fits: (_identifier, wildcard) => !wildcard,
    async present({ token, keyAuthorization }) {
      const takeAway = await challenge.expect?.(token, keyAuthorization.slice(token.length + 1));
      return takeAway ?? (async () => {});
    },
  };
}

function tokenOf(path: string): string | undefined {
  if (!path.startsWith(CHALLENGE_PREFIX)) return undefined;
  const token = path.slice(CHALLENGE_PREFIX.length);
  return TOKEN.test(token) ? token : undefined;
}
