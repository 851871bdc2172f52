/** What the peers written in TypeScript are told, and what both do alike. */
import { readFileSync } from "node:fs";
import type { SecureServerOptions } from "node:http2";
import type { Site } from "../targets/target.ts";

export const site: Site = JSON.parse(process.env.BENCH_SITE ?? "{}") as Site;

/** For `http2.createSecureServer`, which is how both serve HTTP/2 and HTTP/1.1 from one port. */
export const serverOptions: SecureServerOptions & { keepAliveTimeout: number } = {
  allowHTTP1: true,
  cert: readFileSync(site.certPath),
  key: readFileSync(site.keyPath),
  minVersion: "TLSv1.3",
  settings: { maxConcurrentStreams: 128 },
  keepAliveTimeout: 75_000,
  http1Options: { keepAliveTimeout: 75_000 },
};

/** One of the two backends, by a coin. */
export function pickBackend(): string {
  return `http://127.0.0.1:${site.backends[Math.random() < 0.5 ? 0 : 1]}`;
}
