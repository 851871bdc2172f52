/** Connections that break at every byte of an exchange, on either side: the edge takes note, and goes on. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import net, { createServer, type Server, type Socket } from "node:net";
import tls from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connect2, visit, visit2 } from "../runtime/client.ts";
import { eventually } from "../support/processes.ts";
import { edgeFor, metric, quiet, RUNTIMES, surprises, type TestEdge } from "./edges.ts";
import { bytes } from "./wire.ts";

const HOST = "app.example.test";
const CUT = "cut.example.test";
const CUT2 = "cut2.example.test";

/** How a side leaves. */
const WAYS = ["reset", "fin"] as const;
type Way = (typeof WAYS)[number];

function leave(socket: Socket, way: Way): void {
  if (way === "reset") socket.resetAndDestroy();
  else socket.destroy();
}

const H1 = bytes(
  `POST /echo HTTP/1.1\r\nHost: ${HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\nGET /slow HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`,
);

function frame(type: number, flags: number, stream: number, payload: Buffer | string): Buffer {
  const body = Buffer.from(payload as string, "latin1");
  const head = Buffer.from([0, body.length >> 8, body.length & 255, type, flags, 0, 0, 0, stream]);
  return Buffer.concat([head, body]);
}

/** HPACK without tables of its own: POST or GET, https, /echo or /slow, the authority. */
function fields(method: "GET" | "POST", path: string): string {
  const text = (value: string): string => String.fromCharCode(value.length) + value;
  return `${method === "GET" ? "\x82" : "\x83"}\x87\x04${text(path)}\x01${text(HOST)}`;
}

const H2 = Buffer.concat([
  bytes("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  frame(4, 0, 0, ""),
  frame(1, 4, 1, fields("POST", "/echo")),
  frame(0, 0, 1, "hello"),
  frame(6, 0, 0, "12345678"),
  frame(8, 0, 0, "\0\0\x10\0"),
  frame(1, 5, 3, fields("GET", "/slow")),
  frame(0, 1, 1, " world"),
]);

/** What a server says, and at each byte of it falls silent for ever. */
const ANSWERS: Readonly<Record<string, string>> = {
  length: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
  chunked: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n",
  hints: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
  close: "HTTP/1.1 200 OK\r\n\r\nuntil the end",
};

const H2_ANSWER = Buffer.concat([
  frame(4, 0, 0, ""),
  frame(4, 1, 0, ""),
  frame(1, 4, 1, "\x88"),
  frame(0, 0, 1, "hello"),
  frame(6, 0, 0, "12345678"),
  frame(1, 5, 1, "\0\x01a\x01b"),
]);

describe.each(RUNTIMES)("resets at every byte on %s", (runtime) => {
  const servers: Server[] = [];
  let edge: TestEdge;
  /** Connections that the h2c server has had; the n-th is cut after n bytes. */
  let h2Connections = 0;
  let h2Way: Way = "reset";

  const serve = async (onSocket: (socket: Socket) => void): Promise<number> => {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      onSocket(socket);
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen({ port: 0, host: "127.0.0.1" }, resolve));
    return (server.address() as AddressInfo).port;
  };

  beforeAll(async () => {
    // Answers a byte at a time, so that a client can leave at each of them.
    const dribbling = await serve((socket) => {
      let head = "";
      socket.on("data", (chunk: Buffer) => {
        head += chunk.toString("latin1");
        if (!head.includes("\r\n\r\n") || (head.startsWith("POST") && !head.includes("0\r\n"))) return;
        head = "";
        const answer = bytes(ANSWERS.chunked!);
        const next = (at: number): void => {
          if (at < answer.length && socket.writable)
            socket.write(answer.subarray(at, at + 1), () => setImmediate(next, at + 1));
        };
        next(0);
      });
    });
    const cutting = await serve((socket) => {
      let head = "";
      socket.on("data", (chunk: Buffer) => {
        head += chunk.toString("latin1");
        if (!head.includes("\r\n\r\n")) return;
        const [, name = "", at = "0", way = "fin"] = /^GET \/(\w+)\/(\d+)\/(\w+) /.exec(head) ?? [];
        const answer = bytes(ANSWERS[name] ?? "").subarray(0, Number(at));
        if (answer.length === 0) leave(socket, way as Way);
        else socket.write(answer, () => setImmediate(leave, socket, way as Way));
      });
    });
    const cutting2 = await serve((socket) => {
      const part = H2_ANSWER.subarray(0, h2Connections++);
      socket.once("data", () => {
        if (part.length === 0) leave(socket, h2Way);
        else socket.write(part, () => setImmediate(leave, socket, h2Way));
      });
    });
    edge = await edgeFor(runtime, {
      [HOST]: [`http://127.0.0.1:${dribbling}`],
      [CUT]: [`http://127.0.0.1:${cutting}`],
      [CUT2]: [`h2c://127.0.0.1:${cutting2}`],
    });
  });
  afterAll(async () => {
    await edge?.stop();
    for (const server of servers) server.close();
  });

  const secure = async (alpn: string): Promise<[tls.TLSSocket, net.Socket]> => {
    const below = net.connect({ port: edge.https.port, host: "127.0.0.1", noDelay: true });
    below.on("error", () => {});
    const socket = tls.connect({
      socket: below,
      servername: HOST,
      ALPNProtocols: [alpn],
      rejectUnauthorized: false,
    });
    socket.on("error", () => {});
    await once(socket, "secureConnect");
    return [socket, below];
  };
  /** In dozens, as each costs a handshake. */
  const each = async (count: number, work: (at: number) => Promise<void>): Promise<void> => {
    let next = 0;
    const worker = async (): Promise<void> => {
      while (next < count) await work(next++);
    };
    await Promise.all(Array.from({ length: 12 }, worker));
  };
  const unharmed = async (): Promise<void> => {
    await quiet(edge);
    expect(surprises(edge)).toEqual([]);
    expect((await visit({ port: edge.https.port, host: HOST, ca: edge.ca })).body).toBe("hello");
    await eventually(
      "no connection is left",
      async () => (await metric(edge, "skerry_connections")) === 0,
      15_000,
    );
  };

  test.each([
    ["HTTP/1.1", "http/1.1", H1],
    ["HTTP/2", "h2", H2],
  ] as const)("a client that leaves at each byte of its %s requests", async (_name, alpn, script) => {
    for (const way of WAYS)
      await each(script.length + 1, async (at) => {
        const [socket, below] = await secure(alpn);
        await new Promise<void>((resolve) => {
          if (at === 0) resolve();
          else socket.write(script.subarray(0, at), () => setImmediate(resolve));
        });
        leave(below, way);
        if (!below.closed) await once(below, "close");
      });
    await unharmed();
  });

  test.each([
    ["HTTP/1.1", "http/1.1", H1],
    ["HTTP/2", "h2", H2],
  ] as const)("a client that leaves at each byte of its %s answers", async (_name, alpn, script) => {
    let most = 0;
    for (const way of WAYS)
      await each(150, async (at) => {
        const [socket, below] = await secure(alpn);
        const gone = once(below, "close");
        let got = 0;
        socket.on("data", (chunk: Buffer) => {
          got += chunk.length;
          most = Math.max(most, got);
          if (got > at) leave(below, way);
        });
        // Shorter answers end in silence.
        const bound = setTimeout(() => leave(below, way), 1000);
        socket.write(script);
        await gone;
        clearTimeout(bound);
      });
    // So there was something to leave from.
    expect(most).toBeGreaterThanOrEqual(150);
    await unharmed();
  });

  test.each(Object.entries(ANSWERS))(
    "a server that leaves at each byte of an answer: %s",
    async (name, text) => {
      const session = await connect2({ port: edge.https.port, host: CUT, ca: edge.ca });
      for (const way of WAYS)
        await each(text.length + 1, async (at) => {
          const to = { port: edge.https.port, host: CUT, ca: edge.ca, path: `/${name}/${at}/${way}` };
          // An answer cut short is an error to the client; one that never began is a 502. Neither is silence.
          const heard = [visit(to), visit2(session, to)].map((answer) =>
            answer.then(
              ({ status }) => status,
              () => 0,
            ),
          );
          for (const status of await Promise.all(heard)) {
            const whole = at === text.length || (name === "close" && at > text.indexOf("\r\n\r\n") + 3);
            if (whole && way === "fin") expect(status).toBe(200);
            else if (at === 0) expect(status).toBe(502);
            else expect([0, 200, 502]).toContain(status);
          }
        });
      session.destroy();
      await unharmed();
    },
  );

  test("an HTTP/2 server that leaves at each byte of an answer", async () => {
    for (const way of WAYS) {
      h2Way = way;
      h2Connections = 0;
      while (h2Connections <= H2_ANSWER.length + 1) {
        const to = { port: edge.https.port, host: CUT2, ca: edge.ca };
        const status = await visit(to).then(
          (answer) => answer.status,
          () => 0,
        );
        expect([0, 200, 502, 503]).toContain(status);
      }
    }
    await unharmed();
  });
});
