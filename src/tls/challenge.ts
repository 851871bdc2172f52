/**
 * HTTP-01 (RFC 8555 §8.3) without shared state: the answer to a token is `token.thumbprint`, so every edge that knows
 * the account's key answers every challenge of its hosts, whichever edge began the order. Issuers that share a challenge
 * must therefore share their account's key.
 */

export const CHALLENGE_PREFIX = "/.well-known/acme-challenge/";
/** base64url, and nothing that could be more than a token. */
const TOKEN = /^[A-Za-z0-9_-]{1,128}$/;
const MAX_WAITING = 100;

export interface HttpChallenge {
  /** The account key's thumbprint (RFC 7638), base64url. */
  setThumbprint(thumbprint: string): void;
  /** The body for a request path, or undefined: not a challenge, or no account yet. */
  answer(path: string): string | undefined;
  /**
   * As {@link answer}, but waits until the account is known or `signal` aborts: the CA may ask an edge that has only just
   * started for an order that a peer began, and counts what it cannot answer as a failure of the host.
   */
  answerSoon(path: string, signal: AbortSignal): Promise<string | undefined>;
}

export function createHttpChallenge(): HttpChallenge {
  let thumbprint: string | undefined;
  const waiting = new Set<() => void>();
  const answer = (path: string): string | undefined => {
    const token = tokenOf(path);
    return token === undefined || thumbprint === undefined ? undefined : `${token}.${thumbprint}`;
  };
  return {
    setThumbprint(value) {
      thumbprint = value;
      for (const go of waiting) go();
    },
    answer,
    answerSoon(path, signal) {
      // Bounded, so that a stranger's requests cannot pile up; the CA itself makes a handful.
      if (
        thumbprint !== undefined ||
        tokenOf(path) === undefined ||
        signal.aborted ||
        waiting.size >= MAX_WAITING
      ) {
        return Promise.resolve(answer(path));
      }
      return new Promise((resolve) => {
        const go = (): void => {
          signal.removeEventListener("abort", go);
          waiting.delete(go);
          resolve(answer(path));
        };
        waiting.add(go);
        signal.addEventListener("abort", go, { once: true });
      });
    },
  };
}

function tokenOf(path: string): string | undefined {
  if (!path.startsWith(CHALLENGE_PREFIX)) return undefined;
  const token = path.slice(CHALLENGE_PREFIX.length);
  return TOKEN.test(token) ? token : undefined;
}
