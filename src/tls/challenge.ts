/**
 * HTTP-01 (RFC 8555 §8.3) without shared state: the answer to a token is `token.thumbprint`, so every edge that knows
 * the account's key answers every challenge of its hosts, whichever edge began the order. Issuers that share a challenge
 * must therefore share their account's key.
 */

export const CHALLENGE_PREFIX = "/.well-known/acme-challenge/";
/** base64url, and nothing that could be more than a token. */
const TOKEN = /^[A-Za-z0-9_-]{1,128}$/;

export interface HttpChallenge {
  /** The account key's thumbprint (RFC 7638), base64url. */
  setThumbprint(thumbprint: string): void;
  /** The body for a request path, or undefined: not a challenge, or no account yet. */
  answer(path: string): string | undefined;
}

export function createHttpChallenge(): HttpChallenge {
  let thumbprint: string | undefined;
  return {
    setThumbprint(value) {
      thumbprint = value;
    },
    answer(path) {
      if (thumbprint === undefined || !path.startsWith(CHALLENGE_PREFIX)) return undefined;
      const token = path.slice(CHALLENGE_PREFIX.length);
      return TOKEN.test(token) ? `${token}.${thumbprint}` : undefined;
    },
  };
}
