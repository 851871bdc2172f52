/** A certificate in PEM files, as an operator would bring one. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { testCa } from "../support/ca.ts";

export interface OwnCertificate {
  /** PEM of the root to trust. */
  readonly root: string;
  /** For a host's `tls`. */
  readonly tls: { readonly cert: string; readonly key: string };
}

export async function ownCertificate(names: readonly string[]): Promise<OwnCertificate> {
  const folder = mkdtempSync(join(tmpdir(), "skerry-own-"));
  const ca = await testCa();
  const { chain, key } = await ca.issueFor([...names]);
  const tls = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
  writeFileSync(tls.cert, chain);
  writeFileSync(tls.key, key, { mode: 0o600 });
  return { root: ca.rootPem, tls };
}
