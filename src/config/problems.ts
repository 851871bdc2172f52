/** What is wrong with a config, one line each: the path as it would be written in TypeScript, then what is wrong there. */

export interface Problem {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/** `backends.web.servers[1]`, `hosts["app.example.com"].backend`. */
export function formatPath(path: readonly PropertyKey[]): string {
  let text = "";
  for (const key of path) {
    if (typeof key === "number") text += `[${key}]`;
    else if (/^[A-Za-z_$][\w$-]*$/.test(String(key))) text += text === "" ? String(key) : `.${String(key)}`;
    else text += `[${JSON.stringify(String(key))}]`;
  }
  return text;
}

/** One line, whatever line breaks a value carries. */
export function formatProblem({ path, message }: Problem): string {
  const where = formatPath(path);
  return (where === "" ? message : `${where}: ${message}`).replace(/\s*\n\s*/g, " ");
}

/** "a string", "an array", `"text"`, for "expected …, got …". Long and secret-looking values are not repeated. */
export function describeValue(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (typeof value === "string") return value.length > 60 ? "a long string" : JSON.stringify(value);
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (Array.isArray(value)) return "an array";
  return `a${typeof value === "object" ? "n" : ""} ${typeof value}`;
}

/** Edit distance with neighbouring letters swapped as one step. */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(previous[j]! + 1, row[j - 1]! + 1, previous[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, before[j - 2]! + 1);
      row.push(best);
    }
    before = previous;
    previous = row;
  }
  return previous[b.length]!;
}

/** The known name that was probably meant, or undefined where none is near. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const steps = distance(name.toLowerCase(), candidate.toLowerCase());
    if (steps < bestDistance) {
      best = candidate;
      bestDistance = steps;
    }
  }
  return best;
}

/** `; did you mean "health"?`, or what there is to choose from. */
export function suggestion(name: string, known: readonly string[]): string {
  const meant = nearest(name, known);
  if (meant !== undefined) return `; did you mean ${JSON.stringify(meant)}?`;
  return known.length > 0 && known.length <= 12 ? `; known are ${known.join(", ")}` : "";
}
