/**
 * Skerry: your own edge network.
 *
 * @module
 */

import { createAdminApp } from "./admin/app.ts";
import type { EdgeConfig } from "./config/input.ts";
import { resolveConfig } from "./config/resolve.ts";
import { type Edge, type EdgeOptions, startEdge } from "./edge/edge.ts";

export type { EdgeConfig } from "./config/input.ts";
export type { Edge, EdgeOptions } from "./edge/edge.ts";
export { proxy } from "./edge/proxying.ts";
export { EdgeError, type ErrorCode } from "./errors.ts";
export type { EdgeContext, EdgeEnv } from "./exchange/context.ts";
export { type Hooks, hooks } from "./middleware/hooks.ts";

/**
 * Gives a config file its types; returns what it was given.
 *
 * @example
 * ```ts
 * export default defineEdge({
 *   acme: { email: "ops@example.com", agreeToTerms: true },
 *   backends: { web: { servers: ["http://10.0.0.5:8000", "http://10.0.0.6:8000"] } },
 *   hosts: { "app.example.com": { backend: "web" } },
 * });
 * ```
 */
export function defineEdge(config: EdgeConfig): EdgeConfig {
  return config;
}

/**
 * Starts an edge in this process. Relative paths in the config are relative to the working directory.
 *
 * @throws EdgeError CONFIG_INVALID with a line for each bad field, LISTEN_FAILED, STORAGE_UNWRITABLE
 * @example
 * ```ts
 * const edge = await createEdge({ ...config, listen: { http: "127.0.0.1:8080", https: "127.0.0.1:8443" } });
 * process.once("SIGTERM", () => edge.drain().then(() => edge.close()));
 * ```
 */
export async function createEdge(config: EdgeConfig, options: Partial<EdgeOptions> = {}): Promise<Edge> {
  return startEdge(resolveConfig(config), { admin: createAdminApp, ...options });
}
