/** Clients that send a hello and vanish while it is decided whether their name is served. Prints what came of it. */
import { once } from "node:events";
import { connect } from "node:net";
import type { SecureContext } from "node:tls";
import { systemClock } from "../../src/clock.ts";
import { createConnections } from "../../src/edge/connections.ts";
import { openSecureListener } from "../../src/edge/secure-listener.ts";
import { DEFAULT_LIMITS } from "../../src/exchange/limits.ts";
import { createPlaceholder } from "../../src/tls/placeholder.ts";
import { protocolOptions } from "../../src/tls/profile.ts";
import { createResolver } from "../../src/tls/resolver.ts";
import { clientHello, firstAnswer, inRecords } from "../support/raw-hello.ts";

const uncaught: string[] = [];
for (const kind of ["uncaughtException", "unhandledRejection"] as const)
  process.on(kind, (thrown: unknown) => uncaught.push(String(thrown)));

const resolver = createResolver();
const placeholder = await createPlaceholder(systemClock);
resolver.setPlaceholder(placeholder);
resolver.configure(["shop.example.test"]);
let arrived = (): void => {};
let decide = (_yes: boolean): void => {};
const listener = await openSecureListener({
  address: { host: "127.0.0.1", port: 0 },
  limits: () => DEFAULT_LIMITS,
  clock: systemClock,
  connections: createConnections(() => 100),
  onExchange() {},
  onOffence() {},
  protocol: protocolOptions("intermediate"),
  handshakeTimeoutMs: 1000,
  secureContext(name) {
    if (name !== "shop.example.test") return undefined;
    const { promise, resolve } = Promise.withResolvers<SecureContext | undefined>();
    decide = (yes) => resolve(yes ? resolver.secureContext(name) : undefined);
    arrived();
    return promise;
  },
  placeholder,
  clientAuth: undefined,
  authorize: () => true,
  onHandshakeError: () => {},
});
const { port } = listener.address;

/** Returns when the edge has heard of all that happened before. */
const catchUp = (): Promise<string> =>
  firstAnswer(port, inRecords(clientHello(Buffer.from("other.example.test"))));

for (const yes of [true, false])
  for (const leaving of ["reset", "end"] as const) {
    const { promise, resolve } = Promise.withResolvers<void>();
    arrived = resolve;
    const client = connect({ host: "127.0.0.1", port });
    client.on("error", () => {});
    client.write(inRecords(clientHello(Buffer.from("shop.example.test"))));
    await promise;
    const decideOnIt = decide;
    const closed = once(client, "close");
    if (leaving === "reset") client.resetAndDestroy();
    else client.destroy();
    await closed;
    await catchUp();
    decideOnIt(yes);
    await catchUp();
  }
listener.stop();
process.stdout.write(`${JSON.stringify({ uncaught })}\n`);
