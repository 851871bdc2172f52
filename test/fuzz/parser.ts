/** The parser against itself, and its verdicts against what no request may hold. */
import { type Messages, parseRequests } from "../../src/http1/messages.ts";
import { draws, everyByte, randomCuts, randomRequests } from "./requests.ts";

export interface Agreement {
  readonly cases: number;
  readonly parses: number;
  readonly refused: number;
  readonly findings: readonly string[];
}

function outcomeOf(result: Messages<unknown>): string {
  const { messages, refusal } = result;
  // A body cut off by a refusal may have shown more or less of itself by then; that it is not whole is what counts.
  const shown = messages.map((message) =>
    message.whole || refusal === undefined ? message : { parsed: message.parsed },
  );
  return JSON.stringify({ shown, status: refusal?.status });
}

/** What passed although it leaves room for a second reading. */
function unclear(result: ReturnType<typeof parseRequests>): string | undefined {
  for (const { parsed, trailers } of result.messages) {
    const { headers, path, method } = parsed.head;
    const names = headers.filter((_text, at) => at % 2 === 0).map((name) => name.toLowerCase());
    const framings = names.filter((name) => name === "content-length" || name === "transfer-encoding");
    const clean =
      [...headers, ...(trailers ?? [])].every((part) => !/[\0-\x08\x0a-\x1f\x7f]/.test(part)) &&
      names.every((name) => /^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) &&
      /^[\x21-\x7e]+$/.test(path) &&
      /^[A-Z-]+$/.test(method);
    const hosts = names.filter((name) => name === "host").length;
    if (!clean || framings.length > 1 || hosts > 1 || (hosts === 0 && parsed.version === "1.1"))
      return JSON.stringify(parsed.head);
  }
  return undefined;
}

/** `count` cases from `seed`; every tenth is also cut at each of its bytes. */
export function selfAgreement(
  options: { readonly count: number; readonly seed: number; readonly boundMs?: number },
  progress: (done: number, findings: number) => void = () => {},
): Agreement {
  const draw = draws(options.seed);
  const findings: string[] = [];
  const until = performance.now() + (options.boundMs ?? Number.POSITIVE_INFINITY);
  let refused = 0;
  let parses = 0;
  let cases = 0;
  while (cases < options.count && findings.length < 20 && performance.now() < until) {
    cases++;
    if (cases % 50_000 === 0) progress(cases, findings.length);
    const text = randomRequests(draw);
    const bytes = Buffer.from(text, "latin1");
    const whole = parseRequests([bytes]);
    if (whole.refusal) refused++;
    const expected = outcomeOf(whole);
    const ways = [everyByte(bytes), randomCuts(draw, bytes)];
    if (cases % 10 === 0)
      for (let at = 1; at < bytes.length; at++) ways.push([bytes.subarray(0, at), bytes.subarray(at)]);
    parses += ways.length + 1;
    for (const chunks of ways) {
      const got = outcomeOf(parseRequests(chunks));
      if (got === expected) continue;
      findings.push(
        `${JSON.stringify(text)}\n  whole ${expected}\n  in ${JSON.stringify(chunks.map((c) => c.length))} ${got}`,
      );
      break;
    }
    const passed = unclear(whole);
    if (passed !== undefined) findings.push(`${JSON.stringify(text)}\n  passed as ${passed}`);
  }
  return { cases, parses, refused, findings };
}
