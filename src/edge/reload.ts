/** What of a changed config a running edge can follow, and what takes a restart. */
import type { AcmeConfig, ResolvedConfig } from "../config/config.ts";
import { EdgeError } from "../errors.ts";

/** Whether any host asks its clients for certificates, which the listener must know from its start. */
export function asksClients({ hosts }: ResolvedConfig): boolean {
  return [...hosts.values()].some(({ clientAuth }) => clientAuth !== undefined);
}

/** Sockets, folders and accounts are opened once; changing them needs a new process. */
export function refuseChange(before: ResolvedConfig, after: ResolvedConfig): void {
  if ((before.onDemand === undefined) !== (after.onDemand === undefined))
    throw new EdgeError("CONFIG_INVALID", "onDemand: takes a restart; the running config is kept", {
      source: "operator",
    });
  const fixed = ["listen", "storage", "fleet", "location", "via", "acme", "tls"] as const;
  for (const field of fixed) {
    if (JSON.stringify(pinned(before, field)) === JSON.stringify(pinned(after, field))) continue;
    throw new EdgeError("CONFIG_INVALID", `${field}: a change takes a restart; the running config is kept`, {
      source: "operator",
    });
  }
}

/** What of a field stays as it was at the start. How DNS is changed may be another from one order to the next. */
function pinned(config: ResolvedConfig, field: keyof ResolvedConfig): unknown {
  if (field !== "acme" || !config.acme) return config[field];
  const { dns, ...rest }: AcmeConfig = config.acme;
  return { ...rest, byDns: dns !== undefined };
}
