/** A program: reaches servers as a config says, and prints what each answered. */
import { systemClock } from "../../src/clock.ts";
import type { BackendInput, EdgeConfig } from "../../src/config/input.ts";
import { resolveConfig } from "../../src/config/resolve.ts";
import { EdgeError } from "../../src/errors.ts";
import { collect } from "../../src/exchange/body.ts";
import type { Transport } from "../../src/exchange/dispatch.ts";
import { transportFor } from "../../src/proxy/transport.ts";

/** What to reach, and how often, one after the other or at once. */
export interface Reach {
  readonly backend: BackendInput;
  /** Where the server's name is. */
  readonly address?: string;
  readonly times?: number;
  readonly atOnce?: boolean;
  readonly upgrade?: boolean;
}

function get(transport: Transport, upgrade: boolean): Promise<string> {
  const asked = upgrade
    ? ["Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="]
    : ["Accept", "*/*"];
  const own = ["X-Request-Id", "id-1"];
  return new Promise((resolve) => {
    transport.dispatch(
      {
        method: "GET",
        path: "/x",
        scheme: "https",
        authority: "app.example.com",
        headers: transport.sendsExtra ? asked : [...asked, ...own],
        extra: transport.sendsExtra ? own : undefined,
        body: undefined,
        protocol: upgrade ? "websocket" : undefined,
      },
      {
        inform() {},
        respond(head, body) {
          const read = body ? collect(body) : Promise.resolve(new Uint8Array());
          read.then(
            (bytes) => resolve(`${head.status} ${Buffer.from(bytes).toString()}`),
            (error) => resolve(String(error)),
          );
        },
        upgraded(_head, stream) {
          stream.destroy();
          resolve("upgraded");
        },
        failed: (error) =>
          resolve(
            error instanceof EdgeError ? `${error.code} ${error.retry} ${error.message}` : String(error),
          ),
      },
    );
  });
}

async function reach({
  backend,
  address,
  times = 1,
  atOnce = false,
  upgrade = false,
}: Reach): Promise<string[]> {
  const config: EdgeConfig = {
    backends: { web: backend },
    hosts: { "a.example.test": { backend: "web" } },
  };
  const resolved = resolveConfig(config, { certificates: "local" }).backends.get("web")!;
  const server = { ...resolved.servers[0]!, ...(address !== undefined && { address }) };
  const transport = transportFor(server, resolved, { clock: systemClock });
  const said: string[] = [];
  if (atOnce) said.push(...(await Promise.all(Array.from({ length: times }, () => get(transport, upgrade)))));
  else for (let i = 0; i < times; i++) said.push(await get(transport, upgrade));
  await transport.close();
  return said;
}

const reaches = JSON.parse(process.argv[2] ?? "[]") as Reach[];
const results: string[][] = [];
for (const each of reaches) results.push(await reach(each));
process.stdout.write(JSON.stringify(results), () => process.exit(0));
