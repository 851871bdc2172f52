/** Certificates for `skerry dev`: a local authority in a folder, and a fresh certificate from it for each host. */
import { join } from "node:path";
import type { Clock } from "../clock.ts";
import type { HostConfig } from "../config/config.ts";
import type { Log } from "../log.ts";
import { openFilesystemStorage } from "../storage/filesystem.ts";
import { openLocalCa } from "../tls/local-ca.ts";

export interface DevCertificates {
  /** The root that clients must trust, as PEM. */
  readonly caPath: string;
  /** The hosts, each with files of its own. */
  readonly hosts: ReadonlyMap<string, HostConfig>;
}

/**
 * Opens or makes the authority in `folder` and issues for all hosts.
 *
 * @throws EdgeError STORAGE_UNWRITABLE, STORAGE_CORRUPT
 */
export async function devCertificates(
  folder: string,
  hosts: ReadonlyMap<string, HostConfig>,
  options: { clock: Clock; log: Log },
): Promise<DevCertificates> {
  const storage = openFilesystemStorage(folder, options);
  const encoder = new TextEncoder();
  const save = async (key: string, pem: string): Promise<string> => {
    await storage.store(key, encoder.encode(pem));
    return join(folder, key);
  };
  try {
    await storage.check();
    const ca = await openLocalCa(storage, options.clock);
    const caPath = await save("ca.pem", ca.rootPem);
    const served = new Map<string, HostConfig>();
    for (const [name, host] of hosts) {
      const { chain, key } = await ca.issueFor([name]);
      const certPath = await save(`hosts/${name}.pem`, chain);
      const keyPath = await save(`hosts/${name}.key`, key);
      served.set(name, { ...host, tls: { certPath, keyPath } });
    }
    return { caPath, hosts: served };
  } finally {
    await storage.close();
  }
}
