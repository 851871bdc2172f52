/** Where the certificates of an edge come from: its CAs, own files, and names on demand, wired together. */
import type { SecureContext } from "node:tls";
import type { Clock, Random } from "../clock.ts";
import type { HostConfig, ResolvedConfig } from "../config/config.ts";
import { errorFields } from "../errors.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { runtimeName } from "../runtime.ts";
import type { Storage } from "../storage/storage.ts";
import { type CertificateActions, createCertificateActions } from "../tls/actions.ts";
import { createCertificateFolder } from "../tls/folder-keeper.ts";
import type { Issuer } from "../tls/issuer.ts";
import { type CertificateManager, createCertificateManager } from "../tls/manager.ts";
import { createOnDemand, type OnDemand } from "../tls/on-demand.ts";
import { createPermission } from "../tls/permission.ts";
import type { Resolver } from "../tls/resolver.ts";
import { createTicketKeys, type TicketKeys } from "../tls/tickets.ts";

export interface Certificates {
  readonly manager: CertificateManager;
  readonly onDemand: OnDemand | undefined;
  readonly actions: CertificateActions;
  /** For the name in a ClientHello. Never rejects. */
  secureContext(name: string): SecureContext | undefined | Promise<SecureContext | undefined>;
  /** Resolves when everything that is stored is served. */
  start(): Promise<void>;
  /** Follows a changed config: its hosts, and who may be served on demand. */
  follow(config: ResolvedConfig): Promise<void>;
  /** Shares the keys of session tickets with this edge's other processes, where the runtime can. */
  shareTickets(apply: (keys: Buffer) => void): void;
  close(): Promise<void>;
}

export interface CertificatesParts {
  readonly storage: Storage;
  readonly issuer: Issuer | readonly Issuer[] | undefined;
  readonly resolver: Resolver;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly metrics: Metrics;
  /** A newer certificate is served from now on. */
  onServed?(host: string): void;
}

export function createCertificates(config: ResolvedConfig, parts: CertificatesParts): Certificates {
  const { storage, resolver, clock, random, log, metrics } = parts;
  let hosts = config.hosts;
  let tickets: TicketKeys | undefined;

  const folder =
    config.tls.folder === undefined
      ? undefined
      : createCertificateFolder({
          path: config.tls.folder,
          clock,
          log,
          onChange() {
            manager.setHosts(managed()).catch((thrown: unknown) => {
              log.error("certificate.failed", { folder: config.tls.folder, ...errorFields(thrown) });
            });
          },
        });
  /** A host's own files come first, then the folder's, then the CA. */
  const managed = (): HostConfig[] =>
    [...hosts.values()].map((host) => (host.tls ? host : { ...host, tls: folder?.find(host.name) }));

  const manager = createCertificateManager({
    ...parts,
    hosts: [],
    resolver: {
      ...resolver,
      set(host, bundle) {
        const served = resolver.set(host, bundle);
        if (served) onDemand?.arrived(host);
        if (served) parts.onServed?.(host);
        return served;
      },
    },
    ...(config.acme?.concurrency !== undefined && { concurrency: config.acme.concurrency }),
  });
  let permitted = config.onDemand;
  let permission = config.onDemand && createPermission(config.onDemand.permission, clock);
  const onDemand =
    config.onDemand &&
    createOnDemand({
      config: config.onDemand,
      permission: (name, signal) => (permission ? permission(name, signal) : Promise.resolve(false)),
      clock,
      log,
      metrics,
      context: (name) => resolver.secureContext(name),
      notAfter: (name) => resolver.bundle(name)?.notAfter,
      add: (name) => manager.add(name),
      remove: (name) => manager.remove(name),
    });

  return {
    manager,
    onDemand,
    actions: createCertificateActions({
      config: config.acme,
      manager,
      bundle: (host) => resolver.bundle(host),
      storage,
      clock,
      log,
    }),
    secureContext: (onDemand ?? resolver).secureContext,
    async start() {
      await folder?.load();
      await manager.setHosts(managed());
      folder?.begin();
    },
    follow(next) {
      hosts = next.hosts;
      // Kept where it is the same: it remembers what was asked.
      if (next.onDemand && next.onDemand !== permitted)
        permission = createPermission(next.onDemand.permission, clock);
      permitted = next.onDemand;
      return manager.setHosts(managed());
    },
    shareTickets(apply) {
      if (runtimeName !== "node") return;
      tickets = createTicketKeys({ storage, clock, random, log, apply });
      void tickets.start();
    },
    async close() {
      onDemand?.close();
      await Promise.all([folder?.close(), tickets?.close(), manager.close()]);
    },
  };
}
