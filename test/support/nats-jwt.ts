/** What `nsc` makes: an operator, an account with JetStream, and a user whose `.creds` file opens it, for `nats-server`. */
import { createHash, randomUUID } from "node:crypto";
import { nkeys } from "@nats-io/transport-node";

export interface NatsOperator {
  /** Lines of the server's configuration: only users of the operator's account get in. */
  readonly more: string;
  /** A `.creds` file's text; `forMs` negative: it is over. */
  user(name: string, forMs?: number): string;
  /** As {@link user}, of an account that the server does not know. */
  stranger(name: string): string;
}

type Pair = ReturnType<typeof nkeys.createUser>;

const json = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

function sign(issuer: Pair, subject: Pair, name: string, nats: object, expires?: number): string {
  const claims = {
    jti: createHash("sha256").update(randomUUID()).digest("hex"),
    iat: Math.floor(Date.now() / 1000),
    iss: issuer.getPublicKey(),
    sub: subject.getPublicKey(),
    name,
    ...(expires !== undefined && { exp: expires }),
    nats: { version: 2, ...nats },
  };
  const text = `${json({ typ: "JWT", alg: "ed25519-nkey" })}.${json(claims)}`;
  return `${text}.${Buffer.from(issuer.sign(new TextEncoder().encode(text))).toString("base64url")}`;
}

const FREE = { subs: -1, data: -1, payload: -1 };

export function natsOperator(): NatsOperator {
  const operator = nkeys.createOperator();
  const account = nkeys.createAccount();
  // JetStream asks for one, which has none of it.
  const system = nkeys.createAccount();
  const limits = { ...FREE, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
  const stored = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
  const accountJwt = sign(operator, account, "fleet", { type: "account", limits: { ...limits, ...stored } });
  const systemJwt = sign(operator, system, "SYS", { type: "account", limits });
  const credsOf = (owner: Pair, name: string, forMs?: number): string => {
    const user = nkeys.createUser();
    const expires = forMs === undefined ? undefined : Math.floor((Date.now() + forMs) / 1000);
    const jwt = sign(owner, user, name, { type: "user", pub: {}, sub: {}, ...FREE }, expires);
    return (
      `-----BEGIN NATS USER JWT-----\n${jwt}\n------END NATS USER JWT------\n\n` +
      `-----BEGIN USER NKEY SEED-----\n${new TextDecoder().decode(user.getSeed())}\n------END USER NKEY SEED------\n`
    );
  };
  return {
    more:
      `operator: "${sign(operator, operator, "operator", { type: "operator" })}"\nresolver: MEMORY\n` +
      `system_account: ${system.getPublicKey()}\n` +
      `resolver_preload { ${account.getPublicKey()}: "${accountJwt}", ${system.getPublicKey()}: "${systemJwt}" }\n`,
    user: (name, forMs) => credsOf(account, name, forMs),
    stranger: (name) => credsOf(nkeys.createAccount(), name),
  };
}
