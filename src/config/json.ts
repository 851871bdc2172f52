/** JSON for people: the runtimes word syntax errors differently, and Bun names no position, so we find it ourselves. */

export class JsonSyntaxError extends Error {
  /** From 1. */
  readonly line: number;
  /** From 1, in characters. */
  readonly column: number;

  constructor(message: string, text: string, offset: number) {
    super(message);
    this.name = "JsonSyntaxError";
    const before = text.slice(0, offset).split("\n");
    this.line = before.length;
    this.column = (before.at(-1) ?? "").length + 1;
  }
}

/** Good JSON, in which a name comes twice in one object. */
export class DuplicateNameError extends JsonSyntaxError {}

/** A name that comes twice in one object is refused as well: the runtimes would silently take the last. @throws JsonSyntaxError */
export function parseJson(text: string): unknown {
  // Editors of another system put a byte order mark in front.
  const bare = text.replace(/^\uFEFF/, "");
  let parsed: { value: unknown } | undefined;
  try {
    parsed = { value: JSON.parse(bare) };
  } catch {
    // Not swallowed: the scanner below throws the same fault with its place.
  }
  const end = value(bare, blank(bare, 0));
  if (parsed) return parsed.value;
  throw fault(bare, blank(bare, end));
}

const STRING = /"(?:[^"\\\u0000-\u001F]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)(?![\w.+-])/y;
const BLANK = /[ \t\r\n]*/y;

function match(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : -1;
}

const blank = (text: string, at: number): number => match(BLANK, text, at);

function fault(text: string, at: number, wanted?: string): JsonSyntaxError {
  const found = text[at];
  const got = found === undefined ? "unexpected end of the file" : `unexpected ${JSON.stringify(found)}`;
  const comment = found === "/" && /[/*]/.test(text[at + 1] ?? "") ? " (JSON knows no comments)" : "";
  return new JsonSyntaxError(`${got}${wanted ? `, expected ${wanted}` : ""}${comment}`, text, at);
}

/** The offset behind the value at `at`. */
function value(text: string, at: number): number {
  const first = text[at];
  if (first === "{") {
    const names = new Set<string>();
    return members(text, at, "}", (from) => {
      const key = match(STRING, text, from);
      if (key < 0) throw fault(text, from, "a name in double quotes");
      const name = JSON.parse(text.slice(from, key)) as string;
      if (names.has(name)) throw new DuplicateNameError(`${JSON.stringify(name)} comes twice`, text, from);
      names.add(name);
      const colon = blank(text, key);
      if (text[colon] !== ":") throw fault(text, colon, '":"');
      return value(text, blank(text, colon + 1));
    });
  }
  if (first === "[") return members(text, at, "]", (from) => value(text, from));
  const end = match(first === '"' ? STRING : SCALAR, text, at);
  if (end >= 0) return end;
  if (first === '"') throw new JsonSyntaxError("unfinished or malformed string", text, at);
  throw fault(text, at, "a value");
}

function members(text: string, at: number, close: string, member: (from: number) => number): number {
  let from = blank(text, at + 1);
  if (text[from] === close) return from + 1;
  for (;;) {
    const after = blank(text, member(from));
    if (text[after] === close) return after + 1;
    if (text[after] !== ",") throw fault(text, after, `"," or ${JSON.stringify(close)}`);
    from = blank(text, after + 1);
    if (text[from] === close) throw new JsonSyntaxError('a "," before the end', text, after);
  }
}
