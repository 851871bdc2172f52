/** What commands print on standard output. */
import { columns } from "./table.ts";

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function sayJson(value: unknown): void {
  say(JSON.stringify(value, undefined, 2));
}

/** Nothing for no rows. */
export function sayTable(rows: readonly (readonly string[])[]): void {
  if (rows.length > 0) say(columns(rows));
}
