/**
 * Random request bytes through the edge to nginx and to Apache. Whatever the edge forwards, both and our own parser must
 * agree on: how many requests, and each one's method, target and body, byte by byte. Anything else must have been refused.
 */
import type { ParsedRequest } from "../../src/http1/head.ts";
import { type Message, parseRequests } from "../../src/http1/messages.ts";
import { type MemoryEdge, memoryEdge } from "./memory-edge.ts";
import { startWitnesses, type Witness } from "./origins.ts";
import { draws, randomCuts, randomRequests } from "./requests.ts";

export interface Outcome {
  readonly cases: number;
  /** Requests that an origin answered by 200, both origins together. */
  readonly forwarded: number;
  /** Connections that ended with a refusal of the edge's own. */
  readonly refused: number;
  /** Origins' own refusals of what was forwarded, by origin and status. */
  readonly originRefusals: Readonly<Record<string, number>>;
  /** Each a case on which two do not agree. */
  readonly findings: readonly string[];
}

interface Answer {
  readonly status: number;
  /** "METHOD TARGET\nBODY" as the origin says; undefined where the answer is not an origin's. */
  readonly seen: string | undefined;
  readonly server: string | undefined;
}

/** Our own serialiser's answers, told apart. `methods` says which answers HEAD. */
function readAnswers(text: string, methods: readonly string[]): Answer[] {
  const answers: Answer[] = [];
  let at = 0;
  while (at < text.length) {
    const end = text.indexOf("\r\n\r\n", at);
    if (end < 0) break;
    const head = text.slice(at, end + 2).toLowerCase();
    const status = Number(text.slice(at + 9, at + 12));
    at = end + 4;
    if (status < 200) continue;
    const bare = methods[answers.length] === "HEAD" || status === 204 || status === 304;
    let body = "";
    if (!bare && head.includes("\r\ntransfer-encoding: chunked\r\n"))
      for (;;) {
        const line = text.indexOf("\r\n", at);
        const size = Number.parseInt(text.slice(at, line), 16);
        at = line + 2 + size + 2;
        if (!(size > 0)) break;
        body += text.slice(line + 2, line + 2 + size);
      }
    else if (!bare) {
      const size = Number(/\r\ncontent-length: (\d+)/.exec(head)?.[1] ?? 0);
      body = text.slice(at, at + size);
      at += size;
    }
    const own = !head.includes("\r\nx-witness: ");
    answers.push({
      status,
      seen: own || methods[answers.length] === "HEAD" ? undefined : body,
      server: /\r\nserver: ([a-z]+)/.exec(head)?.[1],
    });
  }
  return answers;
}

function toldBy({ parsed, body }: Message<ParsedRequest>): string {
  return `${parsed.head.method} ${parsed.head.path}\n${body}`;
}

/** nginx passes targets on as they came; Apache's proxy writes some anew, so that only their number can be compared. */
function asSeen({ name }: Witness, told: string): string {
  return name === "apache" ? told.replace(/ .*/, "") : told;
}

/** Runs `count` cases from `seed`, or as many as fit into `boundMs`. */
export async function differential(
  options: {
    readonly count: number;
    readonly seed: number;
    readonly boundMs?: number;
    readonly verbose?: boolean;
  },
  progress: (done: number, findings: number) => void = () => {},
): Promise<Outcome> {
  const witnesses = await startWitnesses();
  const tried: [Witness, MemoryEdge][] = [witnesses.nginx, witnesses.apache].map((witness) => [
    witness,
    memoryEdge(witness.url),
  ]);
  const draw = draws(options.seed);
  const findings: string[] = [];
  const originRefusals: Record<string, number> = {};
  let refused = 0;
  let cases = 0;
  const until = performance.now() + (options.boundMs ?? Number.POSITIVE_INFINITY);

  const one = async (): Promise<void> => {
    const text = randomRequests(draw);
    const bytes = Buffer.from(text, "latin1");
    const expected = parseRequests([bytes]);
    const methods = expected.messages.map(({ parsed }) => parsed.head.method);
    for (const [witness, edge] of tried) {
      const chunks = randomCuts(draw, bytes);
      const answers = readAnswers(await edge.talk(chunks), methods);
      const say = (what: string): void => {
        findings.push(
          `${witness.name}: ${what}\n  ${JSON.stringify(text)}\n  in ${JSON.stringify(chunks.map((c) => c.length))}\n  ${JSON.stringify(answers)}`,
        );
      };
      const last = answers.at(-1);
      if (last !== undefined && last.seen === undefined && last.status >= 400) refused++;
      // One more than requests: the refusal of what came behind them, or of a head that the FIN cut short.
      const { length } = expected.messages;
      if (
        answers.length > length + 1 ||
        (answers.length > length && (last?.seen !== undefined || last!.status < 400))
      )
        say("more answers than requests");
      for (const [i, { status, seen, server }] of answers.entries()) {
        if (server !== undefined && status >= 400) {
          const key = `${witness.name} ${status}`;
          originRefusals[key] = (originRefusals[key] ?? 0) + 1;
          if (options.verbose) console.error(key, JSON.stringify(expected.messages[i]), JSON.stringify(text));
        }
        if (seen === undefined) continue;
        const message = expected.messages[i];
        if (message === undefined) say(`answer ${i} is to no request of ours`);
        else if (!message.whole) say(`answer ${i} is to a request that is not whole`);
        else if (asSeen(witness, seen) !== asSeen(witness, toldBy(message)))
          say(`request ${i} was seen as ${JSON.stringify(seen)}`);
      }
    }
  };

  const worker = async (): Promise<void> => {
    while (cases < options.count && performance.now() < until && findings.length < 20) {
      cases++;
      if (cases % 10_000 === 0) progress(cases, findings.length);
      await one();
    }
  };
  await Promise.all(Array.from({ length: 32 }, worker));

  let forwarded = 0;
  for (const [witness, edge] of tried) {
    forwarded += edge.answered;
    findings.push(...edge.strays.map((stray) => `${witness.name}: an answer went astray: ${stray}`));
    await edge.close();
  }
  // Logs are written after the answer is: the last lines may be a moment away.
  for (const [witness, edge] of tried) {
    for (let wait = 0; wait < 100 && witness.count() !== edge.answered; wait++)
      await new Promise((resolve) => setTimeout(resolve, 20));
    if (witness.count() !== edge.answered)
      findings.push(
        `${witness.name} served ${witness.count()} requests, the edge had ${edge.answered} answered`,
      );
  }
  await witnesses.close();
  return { cases, forwarded, refused, originRefusals, findings };
}
