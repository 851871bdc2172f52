/** Switching protocols: what may be switched to, and the server's side of it until somebody takes it. */
import type { ByteStream } from "../exchange/stream.ts";
import type { UpgradeHandle } from "../exchange/web-response.ts";
import type { Lease } from "../upstream/server.ts";

/** The protocols that a connection may be switched to. Anything else an upgrade asks for is not passed on. */
const UPGRADES: ReadonlySet<string> = new Set(["websocket"]);

export function isUpgrade(protocol: string | undefined): boolean {
  return protocol !== undefined && UPGRADES.has(protocol);
}

/** Reading `stream` takes it: from then on the taker must close it. Its close frees the server's slot. */
export class Upgrade implements UpgradeHandle {
  readonly protocol: string;
  /** Whether it was taken. */
  started = false;
  private readonly bytes: ByteStream;

  constructor(protocol: string, stream: ByteStream, lease: Lease) {
    this.protocol = protocol;
    this.bytes = stream;
    // Until somebody takes it an error has no other listener, and would end the process.
    stream.on("error", () => {});
    stream.on("close", () => lease.settle("ok"));
    if (stream.destroyed) lease.settle("ok");
  }

  get stream(): ByteStream {
    this.started = true;
    return this.bytes;
  }

  cancel(): void {
    this.bytes.destroy();
  }
}
