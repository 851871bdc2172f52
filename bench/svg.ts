/** The report as a picture: for each case one bar per proxy, of the metric that comes first. */
import type { CaseReport, Report } from "./report.ts";

const WIDTH = 800;
const LABEL_WIDTH = 280;
const VALUE_WIDTH = 150;
const BAR_HEIGHT = 18;
const ROW_HEIGHT = 24;
const TITLE_HEIGHT = 40;
const PAD = 16;

/** Readable on light and on dark pages; ours and the others' bars differ in more than colour (ours are outlined). */
const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #1f2933; }
  .title { font-weight: 600; }
  .small { fill: #52606d; }
  .other { fill: #9fb3c8; }
  .ours { fill: #2f855a; stroke: #22543d; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb; }
    .small { fill: #9aa5b1; }
    .other { fill: #52667a; }
    .ours { fill: #48bb78; stroke: #9ae6b4; }
  }`;

export function svg(report: Report, baseline: string): string {
  const parts: string[] = [];
  let top = PAD;
  for (const case_ of report.cases) {
    const { text, height } = panel(case_, baseline, top);
    if (height === 0) continue;
    parts.push(text);
    top += height + PAD;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" role="img">
<title>Skerry beside other proxies; lower is better</title>
<style>${STYLE}
</style>
${parts.join("\n")}
</svg>
`;
}

function panel(case_: CaseReport, baseline: string, top: number): { text: string; height: number } {
  const metric = case_.metrics[0];
  if (metric === undefined) return { text: "", height: 0 };
  const rows = case_.rows
    .map((row) => ({ row, value: row.medians[metric.key] ?? Number.NaN }))
    .filter(({ value }) => Number.isFinite(value))
    .sort((a, b) => a.value - b.value);
  const largest = Math.max(...rows.map(({ value }) => value), Number.MIN_VALUE);
  if (rows.length === 0) return { text: "", height: 0 };

  const lines = [
    `<text class="title" x="${PAD}" y="${top + 14}">${escaped(case_.title)}</text>`,
    `<text class="small" x="${PAD}" y="${top + 31}">${escaped(metric.title)}, lower is better</text>`,
  ];
  rows.forEach(({ row, value }, at) => {
    const y = top + TITLE_HEIGHT + at * ROW_HEIGHT;
    const width = Math.max(1, (Math.max(0, value) / largest) * (WIDTH - LABEL_WIDTH - VALUE_WIDTH - PAD));
    const ratio = row.ratios[baseline]?.[metric.key];
    const told = [
      value.toFixed(metric.digits),
      ...(ratio === undefined || row.target === baseline ? [] : [`${ratio.toFixed(2)} × ${baseline}`]),
    ];
    const kind = row.label.startsWith("Skerry") ? "ours" : "other";
    lines.push(
      `<text x="${LABEL_WIDTH - 8}" y="${y + 13}" text-anchor="end">${escaped(row.label)}</text>`,
      `<rect class="${kind}" x="${LABEL_WIDTH}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT}" rx="2"/>`,
      `<text x="${(LABEL_WIDTH + width + 8).toFixed(1)}" y="${y + 13}">${escaped(told.join(" · "))}${row.errors > 0 ? " (errors)" : ""}</text>`,
    );
  });
  return { text: lines.join("\n"), height: TITLE_HEIGHT + rows.length * ROW_HEIGHT };
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
