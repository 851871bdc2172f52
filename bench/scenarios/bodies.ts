/** Bodies of 1 and 100 MiB in both directions: CPU per MiB and throughput. */
import { BODY_MIB } from "../backends.ts";
import { h2load } from "../load.ts";
import type { Protocol } from "../targets/target.ts";
import { type Case, type Metric, type Scenario, sampleWhole } from "./scenario.ts";

const METRICS: readonly Metric[] = [
  { key: "cpuUsPerMib", title: "CPU µs/MiB", digits: 0 },
  { key: "mibPerSecond", title: "MiB/s", digits: 0 },
  { key: "corePercent", title: "core %", digits: 0 },
  { key: "rssMib", title: "RSS MiB", digits: 0 },
  { key: "pssMib", title: "PSS MiB", digits: 0 },
];

/** How much a proxy moves in one sample, for each second that a sample should take. */
const MIB_PER_SECOND_OF_SAMPLE = 200;

type Direction = "down" | "up";

function bodies(protocol: Protocol, direction: Direction, mib: number): Case {
  const connections = mib > 10 ? 2 : 8;
  return {
    id: `${protocol}-${direction}-${mib}`,
    title: `${protocol === "h1" ? "HTTP/1.1" : "HTTP/2"}, ${mib} MiB ${direction === "down" ? "downloads" : "uploads"}, ${connections} connections`,
    protocol,
    metrics: METRICS,
    sample(bench) {
      const wanted = Math.ceil((bench.seconds * MIB_PER_SECOND_OF_SAMPLE) / mib / connections);
      const requests = Math.max(1, wanted) * connections;
      return sampleWhole(
        bench,
        () =>
          h2load({
            url: `${bench.target.url}/${direction === "down" ? "body" : "sink"}-${mib}`,
            cores: bench.loadCores,
            folder: bench.folder,
            protocol,
            connections,
            requests,
            ...(direction === "up" ? { upload: bench.backends.bodyFile(mib) } : {}),
          }),
        requests * mib,
        direction === "down" ? requests * mib : 0,
      );
    },
  };
}

export const bodiesScenario: Scenario = {
  name: "bodies",
  about: `${BODY_MIB.join(" and ")} MiB bodies down and up, over HTTP/1.1 and HTTP/2 (h2load)`,
  cases: (["h1", "h2"] as const).flatMap((protocol) =>
    BODY_MIB.flatMap((mib) => (["down", "up"] as const).map((direction) => bodies(protocol, direction, mib))),
  ),
};
