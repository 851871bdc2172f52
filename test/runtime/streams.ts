/** 200 MB through a straw, and what the edge holds of them meanwhile. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import type { ClientHttp2Session } from "node:http2";
import https from "node:https";
import { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import type { EdgeProcess } from "../support/edge.ts";
import { collectAnswer, target, type Visit } from "./client.ts";

/** Runs `work` and tells by how many bytes the edge's resident memory grew at most meanwhile. */
export async function measured<T>(
  edge: EdgeProcess,
  work: () => Promise<T>,
): Promise<{ result: T; grown: number }> {
  const before = edge.process.rss();
  let most = before;
  const sampler = setInterval(() => {
    most = Math.max(most, edge.process.rss());
  }, 50);
  try {
    const result = await work();
    return { result, grown: Math.max(most, edge.process.rss()) - before };
  } finally {
    clearInterval(sampler);
  }
}

/** How far `count` gets with nobody taking anything at the other end: where it stands when it has stood for a second. */
export async function standstill(count: () => number): Promise<number> {
  let last = 0;
  let since = performance.now();
  while (last === 0 || performance.now() - since < 1000) {
    await pause(20);
    if (count() !== last) since = performance.now();
    last = count();
  }
  return last;
}

/** Takes nothing for a second, then rests after every megabyte; answers with the bytes that came. */
export async function sip(stream: Readable): Promise<number> {
  let size = 0;
  let sinceRest = 0;
  await pause(1000);
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    size += chunk.length;
    sinceRest += chunk.length;
    if (sinceRest < 1 << 20) continue;
    sinceRest = 0;
    await pause(5);
  }
  return size;
}

export async function slowDownload(to: Visit): Promise<number> {
  const request = https.request({ ...target(to), agent: false }).end();
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return sip(response);
}

export async function slowDownload2(session: ClientHttp2Session, to: Visit): Promise<number> {
  const stream = session.request({ ":path": to.path ?? "/", ":authority": to.host });
  await once(stream, "response");
  return sip(stream);
}

/** `size` bytes that are made as they are asked for; `given` is told how many were, each time. */
export function plenty(size: number, given: (bytes: number) => void = () => {}): Readable {
  const chunk = Buffer.alloc(64 * 1024, 120);
  let left = size;
  return new Readable({
    read() {
      if (left === 0) return void this.push(null);
      const next = left >= chunk.length ? chunk : chunk.subarray(0, left);
      left -= next.length;
      given(next.length);
      this.push(next);
    },
  });
}

export async function upload(to: Visit, size: number, given?: (bytes: number) => void): Promise<string> {
  const request = https.request({
    ...target({ ...to, method: "PUT", headers: { "content-length": String(size) } }),
    agent: false,
  });
  plenty(size, given).pipe(request);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return (await collectAnswer(response)).body;
}

export async function upload2(
  session: ClientHttp2Session,
  to: Visit,
  size: number,
  given?: (bytes: number) => void,
): Promise<string> {
  const stream = session.request({ ":method": "PUT", ":path": to.path ?? "/", ":authority": to.host });
  plenty(size, given).pipe(stream);
  let body = "";
  stream.setEncoding("utf8").on("data", (text: string) => {
    body += text;
  });
  await once(stream, "end");
  return body;
}
