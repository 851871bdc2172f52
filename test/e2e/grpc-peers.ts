/** gRPC in JavaScript, without generated code: a server and a client that match grpc-peer.py. */
import {
  type Client,
  credentials,
  type handleUnaryCall,
  Metadata,
  type MethodDefinition,
  makeGenericClientConstructor,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
  status,
} from "@grpc/grpc-js";

const LARGE = 3_000_000;

/** What a client found; the same from both languages. */
export interface Found {
  readonly unary: { text: string; initial: string; trailing: string; raw: number[]; status: number };
  readonly large: boolean;
  readonly empty: boolean;
  readonly repeat: number[];
  readonly none: number;
  readonly total: string;
  readonly chat: string[];
  readonly fail: Failure;
  readonly late: string[];
  readonly failLate: Failure;
  readonly unknown: Failure;
  readonly deadline: Failure;
  /** How many of two calls, one past its deadline and one cancelled, the server heard the end of. */
  readonly cancelled: number;
  readonly many: boolean;
}

interface Failure {
  readonly code: number;
  readonly details: string;
  readonly trailers: Record<string, string>;
}

const asIs = (bytes: Buffer): Buffer => bytes;

function method(
  name: string,
  requestStream: boolean,
  responseStream: boolean,
): MethodDefinition<Buffer, Buffer> {
  const codec = { serialize: asIs, deserialize: asIs };
  return {
    path: `/test.Echo/${name}`,
    requestStream,
    responseStream,
    requestSerialize: codec.serialize,
    requestDeserialize: codec.deserialize,
    responseSerialize: codec.serialize,
    responseDeserialize: codec.deserialize,
  };
}

const SERVICE = {
  Unary: method("Unary", false, false),
  Repeat: method("Repeat", false, true),
  Total: method("Total", true, false),
  Chat: method("Chat", true, true),
  Fail: method("Fail", false, false),
  FailLate: method("FailLate", false, true),
  Hang: method("Hang", false, false),
  Cancelled: method("Cancelled", false, false),
};

const LIMITS = { "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 };

function metadata(fields: Record<string, string | Buffer>): Metadata {
  const all = new Metadata();
  for (const [name, value] of Object.entries(fields)) all.set(name, value);
  return all;
}

export interface GrpcServer {
  readonly port: number;
  stop(): void;
}

export async function startGrpcServer(): Promise<GrpcServer> {
  let cancelled = 0;
  const server = new Server(LIMITS);
  const unary: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
    call.sendMetadata(metadata({ "x-initial": String(call.metadata.get("x-asked")[0] ?? "nothing") }));
    const trailing = {
      "x-trailing": String(call.request.length),
      "x-raw-bin": Buffer.from([0, 255, 13, 10]),
    };
    callback(null, call.request, metadata(trailing));
  };
  server.addService(SERVICE, {
    Unary: unary,
    Repeat(call: ServerWritableStream<Buffer, Buffer>) {
      const [count = 0, size = 0] = call.request.toString().split(":").map(Number);
      for (let index = 0; index < count; index++) call.write(Buffer.alloc(size, index % 256));
      call.end();
    },
    Total(call: ServerReadableStream<Buffer, Buffer>, callback: sendUnaryData<Buffer>) {
      let count = 0;
      let size = 0;
      call.on("data", (chunk: Buffer) => {
        count++;
        size += chunk.length;
      });
      call.on("end", () => callback(null, Buffer.from(`${count}:${size}`)));
    },
    Chat(call: ServerDuplexStream<Buffer, Buffer>) {
      call.on("data", (chunk: Buffer) => call.write(chunk));
      call.on("end", () => call.end());
    },
    Fail(_call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) {
      callback({
        code: status.NOT_FOUND,
        details: "no such thing: é",
        metadata: metadata({ "x-why": "gone" }),
      });
    },
    FailLate(call: ServerWritableStream<Buffer, Buffer>) {
      call.write(Buffer.from("one"));
      call.write(Buffer.from("two"));
      call.emit("error", { code: status.RESOURCE_EXHAUSTED, details: "enough" });
    },
    Hang(call: ServerUnaryCall<Buffer, Buffer>) {
      call.on("cancelled", () => cancelled++);
    },
    Cancelled(_call: ServerUnaryCall<Buffer, Buffer>, callback: sendUnaryData<Buffer>) {
      callback(null, Buffer.from(String(cancelled)));
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  return { port, stop: () => server.forceShutdown() };
}

function failure(error: ServiceError): Failure {
  const trailers: Record<string, string> = {};
  for (const [name, value] of Object.entries(error.metadata.getMap()))
    if (name.startsWith("x-")) trailers[name] = String(value);
  return { code: error.code, details: error.details, trailers };
}

const GenericClient = makeGenericClientConstructor({}, "test.Echo");
const within = (ms: number): { deadline: number } => ({
  deadline: performance.timeOrigin + performance.now() + ms,
});

/** Calls everything once, through `127.0.0.1:port` as `name`. */
export async function callGrpc(port: number, name: string, ca: string): Promise<Found> {
  const client: Client = new GenericClient(`127.0.0.1:${port}`, credentials.createSsl(Buffer.from(ca)), {
    ...LIMITS,
    "grpc.ssl_target_name_override": name,
    "grpc.default_authority": name,
  });
  const path = (method: string): string => `/test.Echo/${method}`;
  const unary = (method: string, body: Buffer, ms = 20_000): Promise<Buffer> =>
    new Promise((resolve, reject) =>
      client.makeUnaryRequest(path(method), asIs, asIs, body, new Metadata(), within(ms), (error, answer) =>
        error ? reject(error) : resolve(answer ?? Buffer.alloc(0)),
      ),
    );
  const fails = (call: Promise<unknown>): Promise<Failure> =>
    call.then(
      () => Promise.reject(new Error("it did not fail")),
      (error: ServiceError) => failure(error),
    );
  const stream = (method: string, body: string, into: Buffer[]): Promise<void> =>
    new Promise((resolve, reject) => {
      const call = client.makeServerStreamRequest(
        path(method),
        asIs,
        asIs,
        Buffer.from(body),
        within(20_000),
      );
      call.on("data", (chunk: Buffer) => into.push(chunk));
      call.on("end", resolve);
      call.on("error", reject);
    });

  try {
    const first = await new Promise<Found["unary"]>((resolve, reject) => {
      let initial = "";
      let text = "";
      const call = client.makeUnaryRequest(
        path("Unary"),
        asIs,
        asIs,
        Buffer.from("hello"),
        metadata({ "x-asked": "by js" }),
        within(20_000),
        (error, answer) => {
          if (error) reject(error);
          else text = String(answer);
        },
      );
      call.on("metadata", (got) => {
        initial = String(got.get("x-initial")[0]);
      });
      call.on("status", (end) =>
        resolve({
          text,
          initial,
          trailing: String(end.metadata.get("x-trailing")[0]),
          raw: [...(end.metadata.get("x-raw-bin")[0] as Buffer)],
          status: end.code,
        }),
      );
    });
    const large = Buffer.alloc(LARGE, Buffer.from(Array.from({ length: 251 }, (_, byte) => byte)));
    const repeated: Buffer[] = [];
    await stream("Repeat", "5:70000", repeated);
    const nothing: Buffer[] = [];
    await stream("Repeat", "0:0", nothing);
    const total = await new Promise<string>((resolve, reject) => {
      const call = client.makeClientStreamRequest(
        path("Total"),
        asIs,
        asIs,
        within(20_000),
        (error, answer) => (error ? reject(error) : resolve(String(answer))),
      );
      for (let index = 0; index < 20; index++) call.write(Buffer.alloc(50_000, 120));
      call.end();
    });
    const chat = await new Promise<string[]>((resolve, reject) => {
      const heard: string[] = [];
      const call = client.makeBidiStreamRequest(path("Chat"), asIs, asIs, within(20_000));
      call.on("data", (chunk: Buffer) => {
        // Each message is sent only after the one before came back: nothing may be held back on the way.
        heard.push(String(chunk));
        if (heard.length < 10) call.write(Buffer.from(`turn ${heard.length}`));
        else call.end();
      });
      call.on("end", () => resolve(heard));
      call.on("error", reject);
      call.write(Buffer.from("turn 0"));
    });
    const late: Buffer[] = [];
    const failLate = await fails(stream("FailLate", "", late));
    const count = async (): Promise<number> => Number(await unary("Cancelled", Buffer.alloc(0)));
    const before = await count();
    const deadline = await fails(unary("Hang", Buffer.alloc(0), 300));
    await new Promise<void>((resolve) => {
      const call = client.makeUnaryRequest(path("Hang"), asIs, asIs, Buffer.alloc(0), () => resolve());
      setTimeout(() => call.cancel(), 200);
    });
    const until = performance.now() + 10_000;
    while ((await count()) < before + 2 && performance.now() < until)
      await new Promise((resolve) => setTimeout(resolve, 20));
    const bodies = Array.from({ length: 200 }, (_, index) =>
      Buffer.alloc(1 + ((index * 37) % 4000), `${index}`),
    );
    const answers = await Promise.all(bodies.map((body) => unary("Unary", body)));
    return {
      unary: first,
      large: (await unary("Unary", large)).equals(large),
      empty: (await unary("Unary", Buffer.alloc(0))).length === 0,
      repeat: repeated.map(({ length }) => length),
      none: nothing.length,
      total,
      chat,
      fail: await fails(unary("Fail", Buffer.alloc(0))),
      late: late.map(String),
      failLate,
      unknown: await fails(unary("Missing", Buffer.alloc(0))),
      deadline,
      cancelled: (await count()) - before,
      many: answers.every((answer, index) => answer.equals(bodies[index]!)),
    };
  } finally {
    client.close();
  }
}
