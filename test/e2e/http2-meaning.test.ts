/** The same request by HTTP/1.1 and by HTTP/2 means the same to the server, and its answer the same to the client. */
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import { type ClientHttp2Session, connect } from "node:http2";
import https from "node:https";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { target } from "../runtime/client.ts";
import { edgeFor, quiet, RUNTIMES, surprises, type TestEdge } from "./edges.ts";

const HOST = "app.example.test";

interface Asked {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: string | undefined;
  readonly status: number;
  readonly answer: string;
}

interface Heard {
  readonly method: string;
  readonly path: string;
  readonly fields: readonly string[];
  readonly body: string;
}

let heard: Heard | undefined;

/** Differs by hop, by request or by version. */
const OWN = new Set([
  "connection",
  "via",
  "x-request-id",
  "x-forwarded-for",
  "forwarded",
  "transfer-encoding",
  "date",
  "keep-alive",
]);

function endToEnd(pairs: readonly (readonly [string, string])[]): string[] {
  return (
    pairs
      .filter(([name]) => !OWN.has(name) && !name.startsWith(":"))
      // No body, said in words: HTTP/1.1 clients do for some methods, and HTTP/2 has END_STREAM for it.
      .filter(([name, value]) => name !== "content-length" || value !== "0")
      .map(([name, value]) => `${name}: ${value}`)
      .sort()
  );
}

const origin = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const pairs: [string, string][] = [];
    for (let i = 0; i < request.rawHeaders.length; i += 2)
      pairs.push([request.rawHeaders[i]!.toLowerCase(), request.rawHeaders[i + 1]!]);
    const fields = endToEnd(pairs);
    heard = {
      method: request.method ?? "",
      path: request.url ?? "",
      fields,
      body: Buffer.concat(chunks).toString("latin1"),
    };
    const wanted = Number(request.headers["x-status"]);
    response.writeHead(wanted, {
      "x-answer": "yes",
      "set-cookie": ["a=1", "b=2"],
      "content-type": "text/plain",
    });
    response.end(String(request.headers["x-answer"] ?? ""));
  });
});

interface Answered {
  readonly status: number;
  readonly fields: readonly string[];
  readonly body: string;
}

function fieldsOf(headers: IncomingHttpHeaders): string[] {
  return endToEnd(
    Object.entries(headers).flatMap(([name, value]): [string, string][] =>
      [value ?? []].flat().map((each) => [name, each]),
    ),
  );
}

beforeAll(async () => {
  await new Promise<void>((resolve) => origin.listen({ port: 0, host: "127.0.0.1" }, resolve));
});
afterAll(() => {
  origin.closeAllConnections();
  origin.close();
});

const text = fc.stringMatching(/^[!-~]([ -~]{0,40}[!-~])?$/);
const asked: fc.Arbitrary<Asked> = fc.record({
  method: fc.constantFrom("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"),
  path: fc.stringMatching(/^\/[A-Za-z0-9\-._~%!$&'()*+,;=:@/]{0,30}(\?[A-Za-z0-9\-._~%=&/?]{0,30})?$/),
  headers: fc.dictionary(fc.stringMatching(/^x-[a-z0-9]{1,12}$/), text, { maxKeys: 6 }).map((made) => ({
    ...made,
    cookie: "a=1; b=2",
    accept: "*/*",
  })),
  body: fc.option(fc.string({ maxLength: 3000 }), { nil: undefined }),
  status: fc.constantFrom(200, 201, 202, 204, 206, 301, 304, 400, 404, 418, 500, 503),
  answer: fc.stringMatching(/^[a-z]{0,60}$/),
});

describe.each(RUNTIMES)("a request on %s", (runtime) => {
  let edge: TestEdge;
  let session: ClientHttp2Session;
  let agent: https.Agent;
  beforeAll(async () => {
    edge = await edgeFor(runtime, { [HOST]: [`http://127.0.0.1:${(origin.address() as AddressInfo).port}`] });
    session = connect(`https://127.0.0.1:${edge.https.port}`, { servername: HOST, ca: edge.ca });
    await once(session, "remoteSettings");
    agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  });
  afterAll(async () => {
    session?.close();
    agent?.destroy();
    await edge?.stop();
  });

  /** With a length where there is a body, so that both say the same of it. */
  function fields(request: Asked): Record<string, string> {
    const { headers, status, answer, body } = request;
    const length = body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) };
    return { ...headers, ...length, "x-status": String(status), ...(answer && { "x-answer": answer }) };
  }

  function byHttp1(request: Asked): Promise<Answered> {
    return new Promise((resolve, reject) => {
      const { method, path } = request;
      const sent = https.request({
        ...target({ port: edge.https.port, host: HOST, ca: edge.ca, path, method, headers: fields(request) }),
        agent,
      });
      sent.on("error", reject);
      sent.on("response", (response) => {
        let body = "";
        response.setEncoding("latin1").on("data", (chunk: string) => {
          body += chunk;
        });
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, fields: fieldsOf(response.headers), body }),
        );
      });
      sent.end(request.body);
    });
  }

  function byHttp2(request: Asked): Promise<Answered> {
    return new Promise((resolve, reject) => {
      const stream = session.request(
        { ":method": request.method, ":path": request.path, ":authority": HOST, ...fields(request) },
        { endStream: request.body === undefined },
      );
      let head: IncomingHttpHeaders = {};
      let body = "";
      stream.on("response", (headers) => {
        head = headers as IncomingHttpHeaders;
      });
      stream.setEncoding("latin1").on("data", (chunk: string) => {
        body += chunk;
      });
      stream.on("error", reject);
      stream.on("end", () => resolve({ status: Number(head[":status"]), fields: fieldsOf(head), body }));
      if (request.body !== undefined) stream.end(request.body);
    });
  }

  test("means the same by HTTP/1.1 and HTTP/2, there and back", async () => {
    await fc.assert(
      fc.asyncProperty(asked, async (request) => {
        const first = await byHttp1(request);
        const heardFirst = heard;
        const second = await byHttp2(request);
        expect(heard).toEqual(heardFirst);
        expect(second).toEqual(first);
      }),
      { numRuns: 200 },
    );
    await quiet(edge);
    expect(surprises(edge)).toEqual([]);
  });
});
