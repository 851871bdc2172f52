/**
 * A fuzzer of request bytes; a command, not a test. Seeds are the fixtures; each case is a mutation of one or two of them.
 *
 *   node test/http1/fuzz.ts [--count 20000] [--seed 1]
 *     the parser with itself: the whole, every cut in two and byte by byte must give the same requests and the same refusal
 *
 *   node test/http1/fuzz.ts --edge 127.0.0.1:8080 [--origin 127.0.0.1:9001,127.0.0.1:9002] [--count 2000] [--seed 1]
 *     an edge in front of other servers: the bytes go to the edge, whole and cut in two, and each must get the same
 *     statuses; with `--origin` also straight to each origin. A case that the edge answers below 400 where an origin
 *     refuses the same bytes, or that gets another number of answers, is printed: what the two disagree on, one could smuggle.
 */
import { connect } from "node:net";
import { parseArgs } from "node:util";
import { type Messages, parseRequests, parseResponses } from "../../src/http1/messages.ts";
import { REFUSED, REQUESTS } from "./fixtures.ts";

const { values } = parseArgs({
  options: {
    count: { type: "string" },
    seed: { type: "string", default: "1" },
    edge: { type: "string" },
    origin: { type: "string" },
  },
});
const count = Number(values.count ?? (values.edge === undefined ? 20_000 : 2000));

/** mulberry32: a seed gives the same cases everywhere. */
function draws(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const random = draws(Number(values.seed));
const below = (n: number): number => Math.floor(random() * n);
const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;

const GOOD: readonly string[] = Object.values(REQUESTS);
const SEEDS: readonly string[] = [...GOOD, ...Object.values(REFUSED).map(([, text]) => text)];
/** Bytes and pieces at which parsers have disagreed. */
const PIECES: readonly string[] = [
  "\r\n",
  "\n",
  "\r",
  " ",
  "\t",
  "\0",
  "\x0b",
  "\x0c",
  "\x7f",
  "\x80",
  "\xff",
  ":",
  ";",
  ",",
  "0",
  "-",
  "+",
  "0x",
  "_",
  '"',
  "#",
  "//",
  "@",
  "\r\n ",
  "\r\n\t",
  "\r\n\r\n",
  "chunked",
  "Chunked",
  "xchunked",
  "identity",
  "0\r\n\r\n",
  "5\r\nhello\r\n",
  "Content-Length: 5\r\n",
  "Content-Length: 0\r\n",
  "Content-Length : 5\r\n",
  "Content_Length: 5\r\n",
  "Transfer-Encoding: chunked\r\n",
  "Transfer-Encoding:\tchunked\r\n",
  "Transfer-Encoding\x0b: chunked\r\n",
  "Host: b.test\r\n",
  "Connection: close\r\n",
  "Connection: Host\r\n",
  "Expect: 100-continue\r\n",
  "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
  "HTTP/1.0",
  "HTTP/1.1",
  "HTTP/1.2",
  "HTTP/0.9",
  "http://c.test/",
];

function mutate(): string {
  let text = pick(random() < 0.7 ? GOOD : SEEDS);
  if (random() < 0.2) text += pick(SEEDS);
  for (let n = below(3); n >= 0; n--) {
    const at = below(text.length + 1);
    const end = Math.min(text.length, at + 1 + below(8));
    switch (below(6)) {
      case 0:
        text = text.slice(0, at) + text.slice(end);
        break;
      case 1:
        text = text.slice(0, at) + pick(PIECES) + text.slice(at);
        break;
      case 2:
        text = text.slice(0, at) + pick(PIECES) + text.slice(end);
        break;
      case 3:
        text = text.slice(0, at) + String.fromCharCode(below(256)) + text.slice(at + 1);
        break;
      case 4:
        text = text.slice(0, end) + text.slice(at);
        break;
      default: {
        // A piece after a line end, where fields begin.
        const line = text.indexOf("\r\n", at);
        if (line >= 0) text = text.slice(0, line + 2) + pick(PIECES) + text.slice(line + 2);
      }
    }
  }
  return text;
}

function outcome(result: Messages<unknown>): string {
  const { messages, refusal } = result;
  // A body cut off by a refusal may have shown more or less of itself by then; that it is not whole is what counts.
  const shown = messages.map((message) =>
    message.whole || refusal === undefined ? message : { parsed: message.parsed },
  );
  return JSON.stringify({ shown, status: refusal?.status });
}

function selfCheck(): number {
  let failures = 0;
  let refused = 0;
  for (let i = 0; i < count; i++) {
    const text = mutate();
    const bytes = Buffer.from(text, "latin1");
    const whole = parseRequests([bytes]);
    if (whole.refusal) refused++;
    const expected = outcome(whole);
    const cuts: Buffer[][] = [Array.from(bytes, (_byte, at) => bytes.subarray(at, at + 1))];
    for (let at = 1; at < bytes.length; at++) cuts.push([bytes.subarray(0, at), bytes.subarray(at)]);
    for (const chunks of cuts) {
      const got = outcome(parseRequests(chunks));
      if (got === expected) continue;
      failures++;
      console.log(
        `case ${i}: ${JSON.stringify(text)}\n  whole ${expected}\n  cut at ${chunks[0]!.length} ${got}`,
      );
      break;
    }
    // What passes must be without ambiguity: no control byte, one Host, one framing.
    for (const { parsed } of whole.messages) {
      const { headers, path } = parsed.head;
      const names = headers.filter((_text, at) => at % 2 === 0).map((name) => name.toLowerCase());
      const framings = names.filter((name) => name === "content-length" || name === "transfer-encoding");
      const clean =
        headers.every((part) => !/[\0-\x08\x0a-\x1f\x7f]/.test(part)) && /^[\x21-\x7e]+$/.test(path);
      if (clean && framings.length <= 1 && names.filter((name) => name === "host").length <= 1) continue;
      failures++;
      console.log(`case ${i}: passed ${JSON.stringify(text)}\n  as ${JSON.stringify(parsed.head)}`);
    }
  }
  console.log(`${count} cases, ${refused} refused, ${failures} failures`);
  return failures;
}

/** The statuses that `address` answers to `chunks` and a FIN, within a second; "…" where it did not close by then. */
function statuses(address: string, chunks: readonly Buffer[]): Promise<string> {
  const colon = address.lastIndexOf(":");
  return new Promise((resolve) => {
    const socket = connect({
      host: address.slice(0, colon),
      port: Number(address.slice(colon + 1)),
      allowHalfOpen: true,
      noDelay: true,
    });
    let got = "";
    const done = (closed: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      const { messages } = parseResponses([Buffer.from(got, "latin1")]);
      resolve(messages.map((message) => message.parsed.head.status).join(" ") + (closed ? "" : " …"));
    };
    const timer = setTimeout(() => done(false), 1000);
    socket.on("data", (chunk: Buffer) => {
      got += chunk.toString("latin1");
    });
    socket.on("error", () => done(true));
    socket.on("end", () => done(true));
    socket.on("connect", () => {
      const [first, ...rest] = chunks;
      socket.write(first!);
      setTimeout(
        () => {
          for (const chunk of rest) socket.write(chunk);
          socket.end();
        },
        rest.length > 0 ? 5 : 0,
      );
    });
  });
}

async function edgeCheck(edge: string, origins: readonly string[]): Promise<number> {
  let findings = 0;
  for (let i = 0; i < count; i++) {
    const text = mutate();
    const bytes = Buffer.from(text, "latin1");
    if (bytes.length < 2) continue;
    const at = 1 + below(bytes.length - 1);
    const [whole, cut, ...others] = await Promise.all([
      statuses(edge, [bytes]),
      statuses(edge, [bytes.subarray(0, at), bytes.subarray(at)]),
      ...origins.map((origin) => statuses(origin, [bytes])),
    ]);
    const report: string[] = [];
    if (whole !== cut) report.push(`edge whole "${whole}", cut at ${at} "${cut}"`);
    for (const [n, other] of others.entries()) {
      const passed = whole!.split(" ").filter((status) => status !== "" && status < "400").length;
      const origin = other.split(" ").filter((status) => status !== "" && status < "400").length;
      if (passed > origin) report.push(`edge "${whole}", ${origins[n]} "${other}"`);
    }
    if (report.length === 0) continue;
    findings++;
    console.log(`case ${i}: ${JSON.stringify(text)}\n  ${report.join("\n  ")}`);
  }
  console.log(`${count} cases, ${findings} findings`);
  return findings;
}

const failures =
  values.edge === undefined ? selfCheck() : await edgeCheck(values.edge, values.origin?.split(",") ?? []);
process.exit(failures === 0 ? 0 : 1);
