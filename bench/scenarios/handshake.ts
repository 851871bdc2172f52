/** A new TLS connection for every request: once with the whole handshake, once resumed from a ticket. */
import { h2load, type Load, type LoadResult, wrk } from "../load.ts";
import type { Child } from "../process.ts";
import { type Bench, REQUEST_METRICS, type Scenario, sampleWindow } from "./scenario.ts";

const CONNECTIONS_PER_BATCH = 64;
const RESUMING_CONNECTIONS = 16;

/** With batches the generator's own start is in the wall time, so only CPU and memory are told. */
const FULL_METRICS = REQUEST_METRICS.filter(({ key }) => ["cpuUs", "rssMib", "pssMib"].includes(key));

/**
 * wrk and h2load resume the session when a connection of theirs is opened again, so whole handshakes take new
 * connections: batches of h2load in which each connection sends one request.
 */
function fullHandshakes(bench: Bench, seconds: number): Load {
  const end = performance.now() + seconds * 1000;
  let current: Child | undefined;
  let stopped = false;
  const all = (async (): Promise<LoadResult> => {
    let [requests, errors] = [0, 0];
    const begin = performance.now();
    while (!stopped && performance.now() < end) {
      const batch = h2load({
        url: `${bench.target.url}/`,
        cores: bench.loadCores,
        folder: bench.folder,
        protocol: "h1",
        connections: CONNECTIONS_PER_BATCH,
        requests: CONNECTIONS_PER_BATCH,
      });
      current = batch.child;
      const result = await batch.result();
      requests += result.requests;
      errors += result.errors;
    }
    const took = (performance.now() - begin) / 1000;
    return { requests, errors, seconds: took, bytes: undefined, p50Ms: undefined, p99Ms: undefined };
  })();
  all.catch(() => {}); // whoever awaits the result gets it; a stop before that is no second error
  return {
    child: {
      name: "h2load batches",
      get pid() {
        return current?.pid ?? 0;
      },
      get stdin(): Child["stdin"] {
        throw new Error("batches read nothing");
      },
      output: () => current?.output() ?? { stdout: "", stderr: "" },
      exited: all.then(() => 0),
      running: () => current?.running() ?? false,
      async stop() {
        stopped = true;
        await current?.stop();
      },
    },
    result: () => all,
  };
}

export const handshake: Scenario = {
  name: "handshake",
  about: "a new TLS connection for every request: whole handshakes (h2load) and resumed ones (wrk)",
  cases: [
    {
      id: "handshake-full",
      title: "whole TLS 1.3 handshake and one request of 1 KiB",
      protocol: "h1",
      metrics: FULL_METRICS,
      sample: (bench) => sampleWindow(bench, (seconds) => fullHandshakes(bench, seconds)),
    },
    {
      id: "handshake-resumed",
      title: "resumed TLS 1.3 handshake and one request of 1 KiB",
      protocol: "h1",
      metrics: REQUEST_METRICS,
      sample: (bench) =>
        sampleWindow(bench, (seconds) =>
          wrk({
            url: `${bench.target.url}/`,
            cores: bench.loadCores,
            connections: RESUMING_CONNECTIONS,
            seconds,
            close: true,
          }),
        ),
    },
  ],
};
