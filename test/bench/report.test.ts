import { expect, test } from "vitest";
import {
  type CaseReport,
  caseTable,
  intoPage,
  markdown,
  type Report,
  type RowReport,
} from "../../bench/report.ts";
import { svg } from "../../bench/svg.ts";

const row = (target: string, cpuUs: number, more: Partial<RowReport> = {}): RowReport => ({
  target,
  label: target,
  rounds: 5,
  medians: { cpuUs },
  ratios: { nginx: { cpuUs: cpuUs / 10 } },
  spread: 0.02,
  noisy: false,
  errors: 0,
  failures: [],
  samples: [],
  ...more,
});

const case_ = (...rows: RowReport[]): CaseReport => ({
  scenario: "h1",
  id: "h1-64",
  title: "a < b & c",
  metrics: [{ key: "cpuUs", title: "CPU", digits: 1 }],
  rows,
});

const report = (...cases: CaseReport[]): Report => ({
  date: "2026-01-02T03:04:05Z",
  machine: { processor: "P", cores: 2, memoryGib: 4, kernel: "6.1", system: "Debian" },
  options: { rounds: 5, seconds: 4, rules: true },
  cases,
});

test("a table has a line for each proxy, with its ratio to each baseline that was measured", () => {
  const lines = caseTable(case_(row("nginx", 10), row("node", 25)), ["nginx", "caddy"]).split("\n");
  expect(lines).toHaveLength(4);
  expect(lines[0]).toMatch(/proxy +\| +CPU \| × nginx \| spread \| notes/);
  expect(lines[3]).toMatch(/node +\| +25\.0 \| +2\.50 \| +2 % \|/);
});

test("errors, noise and use by others are marked", () => {
  const marked = row("node", 25, { errors: 3, noisy: true, medians: { cpuUs: 25, foreignPercent: 12 } });
  const text = caseTable(case_(marked), []);
  expect(text).toContain("**3 errors**");
  expect(text).toContain("noisy");
  expect(text).toContain("12 % of the core used by others");
});

test("a proxy that failed says why, without the machine's paths", () => {
  const failed = row("bun", Number.NaN, { rounds: 0, failures: ["no /home/someone/x/file.ts\nhere"] });
  const text = caseTable(case_(failed), []);
  expect(text).toContain("failed 1×: no … here");
});

test("tables go between the marks of a page and leave the rest of it alone", () => {
  const page = "top\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nbottom\n";
  const text = intoPage(page, markdown(report(case_(row("nginx", 10))), ["nginx"]));
  expect(text.startsWith("top\n<!-- bench:begin -->\n\nMeasured 2026-01-02")).toBe(true);
  expect(text.endsWith("<!-- bench:end -->\nbottom\n")).toBe(true);
  expect(text).not.toContain("old");
  expect(() => intoPage("no marks", "x")).toThrow(/bench:begin/);
});

test("a page may have marks for several commands", () => {
  const marks = (name: string): string =>
    `<!-- bench:${name}:begin -->\n${name}\n<!-- bench:${name}:end -->\n`;
  const page = marks("balance") + marks("failover");
  const text = intoPage(page, "new", "failover");
  expect(text.startsWith(marks("balance"))).toBe(true);
  expect(text.endsWith("<!-- bench:failover:begin -->\n\nnew\n\n<!-- bench:failover:end -->\n")).toBe(true);
  expect(() => intoPage(page, "new")).toThrow(/bench:begin/);
});

test("the chart has a bar for each measured proxy and escapes its words", () => {
  const text = svg(report(case_(row("nginx", 10), row("node", 25), row("bun", Number.NaN))), "nginx");
  expect(text.match(/<rect /g)).toHaveLength(2);
  expect(text).toContain("a &lt; b &amp; c");
  expect(text).toContain("2.50 × nginx");
});
