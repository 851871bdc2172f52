/** Tokens: who an agent is, where it dials, and how it knows that it reached the right edge. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { EdgeError } from "../errors.ts";
import { parseAuthority } from "./protocol.ts";

const PREFIX = "wht1_";
const ID = /^[0-9a-f]{16}$/;

/** What a token says. Only the agent holds all of it; an edge keeps the secret's hash. */
export interface Token {
  /** Names it in lists and logs. */
  readonly id: string;
  /** 256 random bits, base64url. */
  readonly secret: string;
  readonly backend: string;
  /** Where to dial: `host:port`. */
  readonly address: string;
  /** SHA-256 of the tunnel's own certificate, base64url; without it the system's authorities decide. */
  readonly pin: string | undefined;
}

/** A token with fresh secrets. */
export function mintToken(facts: Pick<Token, "backend" | "address" | "pin">): Token {
  return { id: randomBytes(8).toString("hex"), secret: randomBytes(32).toString("base64url"), ...facts };
}

/** As it stands in `WORMHOLE_TOKEN`. */
export function formatToken({ id, secret, backend, address, pin }: Token): string {
  const fields = { i: id, s: secret, b: backend, a: address, ...(pin !== undefined && { p: pin }) };
  return PREFIX + Buffer.from(JSON.stringify(fields)).toString("base64url");
}

/** @throws EdgeError USAGE, which never quotes the text */
export function parseToken(text: string): Token {
  const wrong = (): never => {
    throw new EdgeError(
      "USAGE",
      'this is no whole token; copy all that "skerry token create" printed after WORMHOLE_TOKEN=',
      { source: "operator" },
    );
  };
  const trimmed = text.trim();
  if (!trimmed.startsWith(PREFIX) || trimmed.length > 4096) return wrong();
  let fields: Record<string, unknown> | null;
  try {
    fields = JSON.parse(
      Buffer.from(trimmed.slice(PREFIX.length), "base64url").toString("utf8"),
    ) as typeof fields;
  } catch {
    return wrong();
  }
  const { i: id, s: secret, b: backend, a: address, p: pin } = fields ?? {};
  if (typeof id !== "string" || !ID.test(id) || typeof secret !== "string" || secret.length !== 43)
    return wrong();
  if (typeof backend !== "string" || typeof address !== "string" || !parseAuthority(address)) return wrong();
  if (pin !== undefined && (typeof pin !== "string" || pin.length !== 43)) return wrong();
  return { id, secret, backend, address, pin };
}

/** What an edge keeps of a token, under `tokens/<id>`. */
export interface TokenRecord {
  readonly id: string;
  readonly backend: string;
  /** SHA-256 of the secret, hex. Its 256 random bits need no salt and no slow hash. */
  readonly hash: string;
  /** Wall-clock milliseconds. */
  readonly createdAt: number;
  readonly expiresAt: number | undefined;
}

export function recordOf(token: Token, createdAt: number, expiresAt: number | undefined): TokenRecord {
  const hash = createHash("sha256").update(token.secret).digest("hex");
  return { id: token.id, backend: token.backend, hash, createdAt, expiresAt };
}

/** Whether `secret` is the record's, in constant time. */
export function matches(record: TokenRecord, secret: string): boolean {
  const given = createHash("sha256").update(secret).digest();
  const kept = Buffer.from(record.hash, "hex");
  return kept.length === given.length && timingSafeEqual(given, kept);
}

/** SHA-256 of a certificate in DER, as tokens carry it. */
export function pinOf(der: Uint8Array): string {
  return createHash("sha256").update(der).digest("base64url");
}
