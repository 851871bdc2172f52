/** Every proxy under test, in the order of the report. */
import { caddy } from "./caddy.ts";
import { haproxy } from "./haproxy.ts";
import { nginx } from "./nginx.ts";
import { hono, httpProxy3 } from "./node-peers.ts";
import { skerryOnBun, skerryOnDeno, skerryOnNode } from "./skerry.ts";
import type { Target } from "./target.ts";

export const TARGETS: readonly Target[] = [
  nginx,
  haproxy,
  caddy,
  skerryOnNode,
  skerryOnBun,
  skerryOnDeno,
  httpProxy3,
  hono,
];

/** Everything else is compared with these. */
export const BASELINES: readonly string[] = ["nginx", "caddy"];
