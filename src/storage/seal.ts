/**
 * Values sealed with the fleet's key (AES-256-GCM), so that who reads the engine, its backups or a disk learns nothing, and
 * who writes there can neither forge a value nor put one in another's place: the storage key is part of what is sealed.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import { EdgeError } from "../errors.ts";

export interface Sealer {
  /** Of the key that seals. */
  readonly keyId: string;
  /** Of all that open. */
  readonly keyIds: readonly string[];
  seal(key: string, value: Uint8Array): Uint8Array;
  /** @throws EdgeError STORAGE_UNREADABLE for another fleet key, STORAGE_CORRUPT for what was changed or never sealed */
  open(key: string, sealed: Uint8Array): Uint8Array;
}

export const KEY_BYTES = 32;
const MAGIC = Buffer.from("SKE1");
const ID_BYTES = 8;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEAD_BYTES = MAGIC.length + ID_BYTES + NONCE_BYTES;

/** A new fleet key, in base64. */
export function makeFleetKey(): string {
  return randomBytes(KEY_BYTES).toString("base64");
}

/**
 * Reads keys in base64, parted by commas or line ends; lines that begin with "#" are notes. `where` names the place in
 * errors, which never quote a key.
 */
export function parseFleetKeys(text: string, where: string): Buffer[] {
  const words = text
    .split("\n")
    .filter((line) => !line.trim().startsWith("#"))
    .flatMap((line) => line.split(","))
    .map((word) => word.trim())
    .filter((word) => word !== "");
  if (words.length === 0) throw refusal(`${where} holds no fleet key; make one with "skerry fleet key"`);
  return words.map((word, index) => {
    const key = Buffer.from(word, "base64");
    const exact = key.length === KEY_BYTES && key.toString("base64") === word;
    if (exact) return key;
    const which = words.length > 1 ? `key ${index + 1} of ${where}` : where;
    throw refusal(`${which} is not ${KEY_BYTES} bytes in base64; make one with "skerry fleet key"`);
  });
}

/** The first key seals; all open, so that keys can be changed while a fleet runs. */
export function createSealer(keys: readonly Uint8Array[]): Sealer {
  const known = new Map(keys.map((key) => [idOf(key).toString("hex"), key]));
  const [first] = keys;
  if (!first) throw refusal("there is no fleet key");
  const id = idOf(first);
  return {
    keyId: id.toString("hex"),
    keyIds: [...known.keys()],
    seal(key, value) {
      const nonce = randomBytes(NONCE_BYTES);
      const head = Buffer.concat([MAGIC, id, nonce]);
      const cipher = createCipheriv("aes-256-gcm", first, nonce);
      cipher.setAAD(boundTo(head, key));
      return Buffer.concat([head, cipher.update(value), cipher.final(), cipher.getAuthTag()]);
    },
    open(key, sealed) {
      const bytes = Buffer.from(sealed.buffer, sealed.byteOffset, sealed.byteLength);
      if (bytes.length < HEAD_BYTES + TAG_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC))
        throw corrupt(key, "was not sealed by Skerry");
      const head = bytes.subarray(0, HEAD_BYTES);
      const sealedBy = head.subarray(MAGIC.length, MAGIC.length + ID_BYTES).toString("hex");
      const secret = known.get(sealedBy);
      if (!secret)
        throw new EdgeError(
          "STORAGE_UNREADABLE",
          `storage: ${key} is sealed with fleet key ${sealedBy}, and here is ${[...known.keys()].join(", ")}: ` +
            "give this edge the fleet's key (SKERRY_FLEET_KEY or fleetKey); nothing was changed",
          { source: "storage" },
        );
      try {
        const decipher = createDecipheriv("aes-256-gcm", secret, head.subarray(-NONCE_BYTES), {
          authTagLength: TAG_BYTES,
        });
        decipher.setAAD(boundTo(head, key));
        decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
        const opened = Buffer.concat([
          decipher.update(bytes.subarray(HEAD_BYTES, -TAG_BYTES)),
          decipher.final(),
        ]);
        return new Uint8Array(opened.buffer, opened.byteOffset, opened.byteLength);
      } catch (cause) {
        throw corrupt(key, "does not open: it was damaged, changed, or stored for another key", cause);
      }
    },
  };
}

/** Names a key without telling it. */
function idOf(key: Uint8Array): Buffer {
  return createHash("sha256").update("skerry fleet key id\n").update(key).digest().subarray(0, ID_BYTES);
}

function boundTo(head: Uint8Array, key: string): Buffer {
  return Buffer.concat([head, Buffer.from(key)]);
}

function refusal(message: string): EdgeError {
  return new EdgeError("CONFIG_INVALID", message, { source: "operator" });
}

function corrupt(key: string, what: string, cause?: unknown): EdgeError {
  return new EdgeError("STORAGE_CORRUPT", `storage: the value of ${key} ${what}`, {
    source: "storage",
    cause,
  });
}
