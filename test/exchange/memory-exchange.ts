/** An exchange without a connection: what was answered is kept for the test to look at. */
import { Duplex } from "node:stream";
import type { EdgeError } from "../../src/errors.ts";
import type { ByteSource } from "../../src/exchange/body.ts";
import { bytesSource, collect } from "../../src/exchange/body.ts";
import type { Body, Exchange, RequestHead, ResponseHead } from "../../src/exchange/exchange.ts";
import { requestHead } from "../../src/exchange/exchange.ts";
import type { HeaderList } from "../../src/exchange/headers.ts";
import type { ByteStream } from "../../src/exchange/stream.ts";

export interface MemoryExchange extends Exchange {
  readonly answer: { head: ResponseHead; body: Body } | undefined;
  readonly resetWith: EdgeError | undefined;
  /** The client's side of an accepted upgrade. */
  readonly client: ByteStream;
  readonly accepted: HeaderList | undefined;
  /** What the client would see of the body; rejects where it was cut short. */
  bytes(): Promise<Uint8Array>;
  text(): Promise<string>;
  /** Ends the exchange as the engine would. */
  finish(error?: EdgeError): void;
}

export interface MemoryExchangeOptions {
  method?: string;
  path?: string;
  authority?: string;
  scheme?: "http" | "https";
  headers?: HeaderList;
  body?: string | Uint8Array | ByteSource;
  protocol?: string;
  head?: RequestHead;
}

export function memoryExchange(options: MemoryExchangeOptions = {}): MemoryExchange {
  const { method = "GET", path = "/", authority = "app.example.com", scheme = "https" } = options;
  const { headers = ["host", authority], protocol, body } = options;
  const listeners: ((error: EdgeError | undefined) => void)[] = [];
  let answer: { head: ResponseHead; body: Body } | undefined;
  let resetWith: EdgeError | undefined;
  let accepted: HeaderList | undefined;
  let closed = false;
  const client = new Duplex({
    read() {},
    write: (_chunk, _encoding, done) => done(),
  }) as unknown as ByteStream;
  const finish = (error?: EdgeError): void => {
    if (closed) return;
    closed = true;
    for (const listener of listeners) listener(error);
  };
  const bytes = async (): Promise<Uint8Array> => {
    const content = answer?.body;
    if (content === undefined) return new Uint8Array(0);
    return content instanceof Uint8Array ? content : collect(content);
  };
  return {
    version: "1.1",
    head: options.head ?? requestHead({ method, path, authority, scheme, headers, protocol }),
    body:
      typeof body === "string"
        ? bytesSource(Buffer.from(body))
        : body instanceof Uint8Array
          ? bytesSource(body)
          : body,
    connection: { id: 1, remoteAddress: "192.0.2.1", remotePort: 4000, localPort: 443 },
    get answered() {
      return answer !== undefined || resetWith !== undefined || accepted !== undefined;
    },
    get closed() {
      return closed;
    },
    expectsContinue: false,
    bytesSent: 0,
    get status() {
      return answer?.head.status ?? 0;
    },
    inform() {},
    respond(head, content) {
      if (answer) throw new Error("answered twice");
      answer = { head, body: content };
    },
    accept(list) {
      accepted = list;
      return client;
    },
    reset(error) {
      resetWith = error;
      finish(error);
    },
    onClose(listener) {
      listeners.push(listener);
    },
    get answer() {
      return answer;
    },
    get resetWith() {
      return resetWith;
    },
    client,
    get accepted() {
      return accepted;
    },
    bytes,
    text: async () => Buffer.from(await bytes()).toString(),
    finish,
  };
}
