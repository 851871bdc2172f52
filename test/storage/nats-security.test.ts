/** NATS over TLS, with client certificates and `.creds` files: who gets in, and what the others are told. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { EdgeError } from "../../src/errors.ts";
import { silentLog } from "../../src/log.ts";
import { openNatsStorage } from "../../src/storage/nats.ts";
import type { NatsPlace } from "../../src/storage/nats-connection.ts";
import { makeFleetKey } from "../../src/storage/seal.ts";
import { testCa } from "../support/ca.ts";
import { clientCa } from "../support/client-certificates.ts";
import { configFile, type Runtime, skerry } from "../support/edge.ts";
import { type Nats, startNats } from "../support/nats.ts";
import { natsOperator } from "../support/nats-jwt.ts";

type NatsStorage = ReturnType<typeof openNatsStorage>;

const text = (value: Uint8Array | undefined): string | undefined => value && new TextDecoder().decode(value);
const SKERRY_FLEET_KEY = makeFleetKey();
const key = Buffer.from(SKERRY_FLEET_KEY, "base64");

let folder: string;
const opened: NatsStorage[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "skerry-nats-security-"));
});
afterEach(async () => {
  for (const storage of opened.splice(0)) await storage.close();
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function open(place: Omit<NatsPlace, "bucket">): NatsStorage {
  const copy = join(folder, randomBytes(8).toString("hex"));
  const storage = openNatsStorage({
    place: { bucket: "secure", ...place },
    keys: [key],
    copy,
    clock: systemClock,
    log: silentLog,
  });
  opened.push(storage);
  return storage;
}

async function refusal(place: Omit<NatsPlace, "bucket">): Promise<string> {
  const thrown = await open(place)
    .check()
    .catch((error: unknown) => error);
  expect(thrown).toBeInstanceOf(EdgeError);
  return (thrown as EdgeError).message;
}

/** Stores, and reads again. */
async function works(place: Omit<NatsPlace, "bucket">): Promise<void> {
  const storage = open(place);
  await storage.check();
  await storage.store("a", new TextEncoder().encode("value"));
  expect(text(await storage.load("a"))).toBe("value");
}

describe("over TLS, with certificates on both sides", () => {
  let nats: Nats;
  let files: Record<"ca" | "cert" | "key" | "strange", string>;
  let tls: { ca: string; cert: string; key: string };

  beforeAll(async () => {
    const authority = await testCa();
    const clients = await clientCa("Edges");
    const server = await authority.issueFor(["localhost", "127.0.0.1"]);
    const client = await clients.issue("edge");
    tls = { ca: authority.rootPem, ...client };
    const path = (name: string): string => join(folder, name);
    await writeFile(path("server.pem"), server.chain);
    await writeFile(path("server.key"), server.key, { mode: 0o600 });
    await writeFile(path("clients.pem"), clients.rootPem);
    await writeFile(path("ca.pem"), authority.rootPem);
    await writeFile(path("client.pem"), client.cert);
    await writeFile(path("client.key"), client.key, { mode: 0o600 });
    await writeFile(path("strange.pem"), (await testCa()).rootPem);
    files = {
      ca: path("ca.pem"),
      cert: path("client.pem"),
      key: path("client.key"),
      strange: path("strange.pem"),
    };
    nats = await startNats({
      more: `tls { cert_file: "${path("server.pem")}", key_file: "${path("server.key")}", ca_file: "${path("clients.pem")}", verify: true }`,
    });
  });
  afterAll(() => nats?.close());

  test("who has them stores and reads", () => works({ servers: nats.servers, tls }));

  test("a server that is signed by somebody else is not believed", async () => {
    const { rootPem } = await testCa();
    expect(await refusal({ servers: nats.servers, tls: { ...tls, ca: rootPem } })).toMatch(
      /certificate of nats:\/\/\S+ is not trusted .*set storage\.nats\.tls\.ca/,
    );
  });

  test("who has no certificate, or one of others, does not get in", async () => {
    const stranger = await (await clientCa("Others")).issue("edge");
    const said = await Promise.all(
      [{}, stranger].map((own) => refusal({ servers: nats.servers, tls: { ca: tls.ca, ...own } })),
    );
    expect(said[0]).toMatch(/ask for a client certificate, set storage\.nats\.tls\.cert and key/);
    expect(said[1]).toMatch(/may not trust that of storage\.nats\.tls\.cert/);
  });

  test("who speaks no TLS is told that the server wants it", async () => {
    expect(await refusal({ servers: nats.servers })).toMatch(/storage\.nats\.tls/);
  });

  test.each<Runtime>(["node", "bun", "deno"])("the command on %s gets in by its files", async (runtime) => {
    const config = (ca: string): string =>
      configFile({
        storage: {
          nats: { servers: nats.servers, bucket: "secure", tls: { ca, cert: files.cert, key: files.key } },
        },
        backends: { web: { servers: ["http://127.0.0.1:9"] } },
        hosts: { "a.example.test": { backend: "web" } },
        acme: { agreeToTerms: true },
      });
    const env = { SKERRY_FLEET_KEY };
    const status = await skerry(runtime, ["fleet", "status", "--config", config(files.ca)], { env });
    expect(status.output).toMatch(/^fleet +[0-9a-f]{16}\n/);
    const refused = await skerry(runtime, ["fleet", "status", "--config", config(files.strange)], { env });
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toMatch(/is not trusted/);
  });
});

describe("with a .creds file", () => {
  const operator = natsOperator();
  let nats: Nats;
  beforeAll(async () => {
    nats = await startNats({ more: operator.more });
  });
  afterAll(() => nats?.close());

  test("its user stores and reads", () =>
    works({ servers: nats.servers, credentials: operator.user("edge") }));

  test("one of another account, one that is over, and none at all are refused with what to look at", async () => {
    const expected = /refuses these credentials: check storage\.nats\.credentials/;
    const { servers } = nats;
    expect(await refusal({ servers, credentials: operator.stranger("edge") })).toMatch(expected);
    expect(await refusal({ servers, credentials: operator.user("edge", -60_000) })).toMatch(expected);
    expect(await refusal({ servers })).toMatch(expected);
  });

  test.each<Runtime>(["node", "bun", "deno"])("the command on %s reads it", async (runtime) => {
    const credentials = join(folder, `${runtime}.creds`);
    await writeFile(credentials, operator.user(runtime), { mode: 0o600 });
    const config = configFile({
      storage: { nats: { servers: nats.servers, bucket: "secure", credentials } },
      backends: { web: { servers: ["http://127.0.0.1:9"] } },
      hosts: { "a.example.test": { backend: "web" } },
      acme: { agreeToTerms: true },
    });
    const status = await skerry(runtime, ["fleet", "status", "--config", config], {
      env: { SKERRY_FLEET_KEY },
    });
    expect(status.output).toMatch(/^fleet +[0-9a-f]{16}\n/);
  });
});
