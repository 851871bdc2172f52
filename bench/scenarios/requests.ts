/** Small requests over connections that stay: HTTP/1.1, HTTP/2, and what more connections change. */
import { h2load, wrk } from "../load.ts";
import { type Case, REQUEST_METRICS, type Scenario, sampleWindow } from "./scenario.ts";

function http1(connections: number): Case {
  return {
    id: `h1-${connections}`,
    title: `HTTP/1.1 keep-alive, 1 KiB, ${connections} connections`,
    protocol: "h1",
    metrics: REQUEST_METRICS,
    sample: (bench) =>
      sampleWindow(
        bench,
        (seconds) => wrk({ url: `${bench.target.url}/`, cores: bench.loadCores, connections, seconds }),
        connections > 100 ? 2 : 1,
      ),
  };
}

export const h1: Scenario = {
  name: "h1",
  about: "HTTP/1.1 keep-alive, 1 KiB, 64 connections (wrk)",
  cases: [http1(64)],
};

export const h1Connections: Scenario = {
  name: "h1-512",
  about: "HTTP/1.1 keep-alive, 1 KiB, 64 against 512 connections (wrk)",
  cases: [http1(64), http1(512)],
};

export const h2: Scenario = {
  name: "h2",
  about: "HTTP/2, 1 KiB, 16 connections with 8 streams each (h2load)",
  cases: [
    {
      id: "h2-16x8",
      title: "HTTP/2, 1 KiB, 16 connections × 8 streams",
      protocol: "h2",
      metrics: REQUEST_METRICS,
      sample: (bench) =>
        sampleWindow(bench, (seconds) =>
          h2load({
            url: `${bench.target.url}/`,
            cores: bench.loadCores,
            folder: bench.folder,
            protocol: "h2",
            connections: 16,
            streams: 8,
            seconds,
          }),
        ),
    },
  ],
};
