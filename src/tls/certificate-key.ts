/** Keys of certificates and accounts, made off the event loop. */
import { generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import type { KeyType } from "../config/config.ts";

const generate = promisify(generateKeyPair);

/** A new key as PKCS#8 PEM. RSA takes some tenths of a second, on another thread. */
export async function newKey(type: KeyType = "p256"): Promise<string> {
  return (await make(type)).export({ type: "pkcs8", format: "pem" }) as string;
}

async function make(type: KeyType): Promise<KeyObject> {
  switch (type) {
    case "p256":
      return (await generate("ec", { namedCurve: "P-256" })).privateKey;
    case "p384":
      return (await generate("ec", { namedCurve: "P-384" })).privateKey;
    case "rsa2048":
      return (await generate("rsa", { modulusLength: 2048 })).privateKey;
    case "rsa4096":
      return (await generate("rsa", { modulusLength: 4096 })).privateKey;
    default:
      return type satisfies never;
  }
}
