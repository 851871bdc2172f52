/**
 * The power of two choices, measured through the real pool and drawn: `node bench/balance-chart.ts docs/balancing.svg`.
 * Takes some minutes; `--quick` takes seconds and is less exact. Chance is seeded: the same numbers each time.
 */
import { writeFileSync } from "node:fs";
import type { BalanceConfig } from "../src/config/balancing.ts";
import { createPool, DEFAULT_BALANCING } from "../src/upstream/pool.ts";
import { type Simulation, simulate, theory, theoryFullest } from "../test/upstream/simulation.ts";
import { manualClock, noTransport, seeded } from "../test/upstream/support.ts";

const quick = process.argv.includes("--quick");
const file = process.argv.slice(2).find((argument) => !argument.startsWith("-"));
const SERVERS = 1000;
const SERVICE_MS = 20;
const SERVICES = quick ? 150 : 1000;
const LOADS = [0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95];
const BINS = quick ? [10, 100, 1000] : [10, 100, 1000, 10_000, 100_000];

interface Series {
  readonly name: string;
  readonly kind: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

function meanTime(load: number, more: Partial<Simulation>): number {
  // At random each queue is one by itself: fewer of them tell the same, and have to be followed for longer.
  const times = more.balance === "random" ? 20 : 1;
  const serviceMs = Array<number>(SERVERS / times).fill(SERVICE_MS);
  const durationMs = times * SERVICES * SERVICE_MS;
  return simulate({ serviceMs, load, durationMs, ...more }).meanMs / SERVICE_MS;
}

/** One number per repetition would be luck: the mean of a few. */
function fullest(n: number, balance: BalanceConfig): number {
  const repeats = Math.min(20, Math.max(1, 200_000 / n));
  let sum = 0;
  for (let seed = 1; seed <= repeats; seed++) {
    const balancing = { ...DEFAULT_BALANCING, balance };
    const pool = createPool("bins", { clock: manualClock(), random: seeded(seed), balancing });
    pool.update(Array.from({ length: n }, (_, i) => ({ id: `${i}`, transport: () => noTransport })));
    for (let i = 0; i < n; i++) pool.lease();
    sum += pool.members().reduce((most, { inFlight }) => Math.max(most, inFlight), 0);
  }
  return sum / repeats;
}

const ways: readonly [name: string, kind: string, more: Partial<Simulation>][] = [
  ["random", "random", { balance: "random" }],
  ["p2c, 8 edges that know nothing of each other", "apart", { edges: 8 }],
  ["p2c, 8 edges, loads reported every 50 ms", "reported", { edges: 8, reportEveryMs: 50 }],
  ["p2c, one edge", "p2c", {}],
];
const times = ways.map(([name, kind, more]): Series => {
  const points = LOADS.map((load) => [load, meanTime(load, more)] as const);
  console.log(name.padEnd(48), points.map(([, y]) => y.toFixed(2).padStart(6)).join(""));
  return { name, kind, points };
});
for (const choices of [1, 2])
  console.log(
    `theory, ${choices} choice(s)`.padEnd(48),
    LOADS.map((load) => theory(load, choices).toFixed(2).padStart(6)).join(""),
  );
const bins = (["random", "p2c"] as const).map((balance): Series => {
  const points = BINS.map((n) => [Math.log10(n), fullest(n, balance)] as const);
  console.log(
    `fullest of n servers, ${balance}`.padEnd(48),
    points.map(([, y]) => y.toFixed(1).padStart(6)).join(""),
  );
  return { name: balance, kind: balance, points };
});

const WIDTH = 800;
const PLOT = { left: 56, width: 420, height: 250 };
const STYLE = `
  text { font: 13px system-ui, sans-serif; fill: #1f2933; }
  .title { font-weight: 600; }
  .small { font-size: 12px; fill: #52606d; }
  .grid { stroke: #cbd2d9; stroke-width: 1; }
  .theory { fill: none; stroke: #7b8794; stroke-width: 1.5; stroke-dasharray: 5 4; }
  .line { fill: none; stroke-width: 2; }
  .random { stroke: #c05621; } .apart { stroke: #b7791f; } .reported { stroke: #2b6cb0; } .p2c { stroke: #2f855a; }
  .dot.random { fill: #c05621; } .dot.apart { fill: #b7791f; } .dot.reported { fill: #2b6cb0; } .dot.p2c { fill: #2f855a; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb; }
    .small { fill: #9aa5b1; }
    .grid { stroke: #3e4c59; }
    .theory { stroke: #9aa5b1; }
    .random { stroke: #f6ad55; } .apart { stroke: #ecc94b; } .reported { stroke: #63b3ed; } .p2c { stroke: #68d391; }
    .dot.random { fill: #f6ad55; } .dot.apart { fill: #ecc94b; } .dot.reported { fill: #63b3ed; } .dot.p2c { fill: #68d391; }
  }`;

interface Panel {
  readonly top: number;
  readonly title: string;
  readonly under: string;
  readonly series: readonly Series[];
  readonly theories: readonly Series[];
  readonly xs: readonly (readonly [x: number, label: string])[];
  readonly ys: readonly number[];
  readonly x: (x: number) => number;
  readonly y: (y: number) => number;
}

const round = (value: number): string => value.toFixed(1);

function panel({ top, title, under, series, theories, xs, ys, x, y }: Panel): string {
  const at = ([px, py]: readonly [number, number]): string =>
    `${round(PLOT.left + x(px) * PLOT.width)},${round(top + 44 + (1 - y(py)) * PLOT.height)}`;
  const path = (one: Series, kind: string): string =>
    `<polyline class="${kind}" points="${one.points.map(at).join(" ")}"/>`;
  const bottom = top + 44 + PLOT.height;
  const parts = [
    `<text class="title" x="16" y="${top + 14}">${title}</text>`,
    `<text class="small" x="16" y="${top + 31}">${under}</text>`,
    ...ys.map((value) => {
      const height = round(bottom - y(value) * PLOT.height);
      return `<line class="grid" x1="${PLOT.left}" x2="${PLOT.left + PLOT.width}" y1="${height}" y2="${height}"/><text class="small" x="${PLOT.left - 8}" y="${Number(height) + 4}" text-anchor="end">${value}</text>`;
    }),
    ...xs.map(
      ([value, label]) =>
        `<text class="small" x="${round(PLOT.left + x(value) * PLOT.width)}" y="${bottom + 18}" text-anchor="middle">${label}</text>`,
    ),
    ...theories.map((one) => path(one, "theory")),
  ];
  // Labels stand beside the last point, and apart from each other.
  let free = Number.POSITIVE_INFINITY;
  const byHeight = [...series].sort((a, b) => a.points.at(-1)![1] - b.points.at(-1)![1]);
  for (const one of byHeight) {
    const last = one.points.at(-1)!;
    const [, height] = at(last).split(",").map(Number);
    const label = Math.min(height! + 4, free - 17);
    free = label;
    parts.push(
      path(one, `line ${one.kind}`),
      ...one.points.map((point) => {
        const [cx, cy] = at(point).split(",");
        return `<circle class="dot ${one.kind}" cx="${cx}" cy="${cy}" r="3"/>`;
      }),
      `<text x="${PLOT.left + PLOT.width + 14}" y="${round(label)}">${one.name}</text>`,
    );
  }
  return parts.join("\n");
}

const logScale =
  (low: number, high: number) =>
  (value: number): number =>
    Math.log(value / low) / Math.log(high / low);
const linear =
  (low: number, high: number) =>
  (value: number): number =>
    (value - low) / (high - low);
const fine = Array.from({ length: 46 }, (_, i) => 0.5 + i * 0.01);
const HEIGHT = 720;

if (file)
  writeFileSync(
    file,
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img">
<title>The power of two choices, through Skerry's own pool, beside the theory</title>
<style>${STYLE}
</style>
${panel({
  top: 16,
  title: `Mean time in system of ${SERVERS} servers, in service times (log scale)`,
  under: "by load per server; Poisson arrivals, exponential service; dashed: theory for one and two choices",
  series: times,
  theories: [1, 2].map((choices) => ({
    name: "",
    kind: "",
    points: fine.map((load) => [load, theory(load, choices)] as const),
  })),
  xs: LOADS.map((load) => [load, String(load)] as const),
  ys: [1, 2, 5, 10, 20],
  x: linear(0.5, 0.95),
  y: logScale(1, 24),
})}
${panel({
  top: 376,
  title: "Fullest of n servers after n requests",
  under: "by n; dashed: theory, which grows like ln n / ln ln n for one choice and like ln ln n for two",
  series: bins,
  theories: ([1, 2] as const).map((choices) => ({
    name: "",
    kind: "",
    points: Array.from({ length: 33 }, (_, i) => 1 + i / 8)
      .filter((x) => x <= Math.log10(BINS.at(-1)!))
      .map((x) => [x, theoryFullest(10 ** x, choices)] as const),
  })),
  xs: BINS.map((n) => [Math.log10(n), n.toLocaleString("en").replaceAll(",", " ")] as const),
  ys: [0, 2, 4, 6, 8],
  x: linear(1, Math.log10(BINS.at(-1)!)),
  y: linear(0, 9),
})}
</svg>
`,
  );
