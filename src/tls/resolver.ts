/** Which certificate a handshake gets. Reads only, and at once: nothing here waits for a disk or a CA. */
import { createHash } from "node:crypto";
import { createSecureContext, type SecureContext } from "node:tls";
import { LRUCache } from "lru-cache";
import type { Bundle, KeyPair } from "./bundle.ts";
import { invalid } from "./certificate.ts";
import { type ProtocolOptions, protocolOptions } from "./profile.ts";

export interface Resolver {
  /** The names that are served; all others are refused. Bundles of names that are left out are dropped. */
  configure(hosts: Iterable<string>): void;
  /** One name more. */
  add(host: string): void;
  /** One name less, and its bundle. */
  remove(host: string): void;
  /**
   * Serves `bundle` from the next handshake on. False where its generation is not above that of the one served.
   * Throws CERTIFICATE_INVALID where TLS does not take it; the one served stays.
   */
  set(host: string, bundle: Bundle): boolean;
  /** The next bundle of `host` may have any generation: it comes from elsewhere now. What is served stays. */
  restart(host: string): void;
  /** Rises with every change to {@link served}. */
  readonly revision: number;
  /** Every name, with what is served for it. */
  served(): Iterable<readonly [host: string, bundle: Bundle | undefined]>;
  /** What is served for a name. */
  bundle(serverName: string): Bundle | undefined;
  /** For the name in a ClientHello. Undefined: not a name of ours, refuse; or no placeholder yet. */
  secureContext(serverName: string): SecureContext | undefined;
  /** For configured names without a certificate, and for clients that send no name. */
  placeholderContext(): SecureContext | undefined;
  setPlaceholder(pair: KeyPair): void;
}

export interface ResolverOptions {
  /** TLS contexts kept ready; one takes some 40 KiB and is made anew in less than a millisecond. @default 2_000 */
  maxContexts?: number;
  /** For contexts too: in Bun they bring their own ciphers and versions to the connection. @default Mozilla's intermediate */
  protocol?: ProtocolOptions;
}

const EAGER_CONTEXTS = 256;

interface Entry {
  bundle: Bundle | undefined;
  hash: string;
  /** False after a change of source: the next generation need not be higher. */
  ordered: boolean;
}

export function createResolver({
  maxContexts = 2_000,
  protocol = protocolOptions("intermediate"),
}: ResolverOptions = {}): Resolver {
  const entries = new Map<string, Entry>();
  /** By hash of the bundle, so that a new certificate never meets an old context. */
  const contexts = new LRUCache<string, SecureContext>({ max: maxContexts });
  let placeholder: SecureContext | undefined;
  let revision = 0;

  const contextOf = (hash: string, bundle: Bundle): SecureContext => {
    let context = contexts.get(hash);
    if (!context) {
      context = secureContextOf(bundle, protocol);
      contexts.set(hash, context);
    }
    return context;
  };

  /** The name's own rather than that of the wildcard above it. */
  const entryOf = (serverName: string): Entry | undefined => {
    const name = normalizeName(serverName);
    return entries.get(name) ?? entries.get(name.replace(/^[^.]+/, "*"));
  };

  return {
    get revision() {
      return revision;
    },
    configure(hosts) {
      revision++;
      const wanted = new Set([...hosts].map(normalizeName));
      for (const host of entries.keys()) if (!wanted.has(host)) entries.delete(host);
      for (const host of wanted) {
        if (!entries.has(host)) entries.set(host, { bundle: undefined, hash: "", ordered: true });
      }
    },
    add(host) {
      revision++;
      const name = normalizeName(host);
      if (!entries.has(name)) entries.set(name, { bundle: undefined, hash: "", ordered: true });
    },
    remove(host) {
      revision++;
      entries.delete(normalizeName(host));
    },
    set(host, bundle) {
      const entry = entries.get(normalizeName(host));
      if (!entry) return false;
      if (entry.bundle && entry.ordered && bundle.generation <= entry.bundle.generation) return false;
      const hash = hashOf(bundle);
      try {
        // What replaces another is tried before it does. Thousands at a start get their contexts when they are asked for.
        if (entry.bundle || contexts.size < EAGER_CONTEXTS) contextOf(hash, bundle);
      } catch (cause) {
        throw invalid(
          `${host}: the certificate of generation ${bundle.generation}`,
          "is refused by TLS",
          cause,
        );
      }
      // Handshakes under way hold theirs by themselves.
      if (entry.hash !== hash) contexts.delete(entry.hash);
      entry.bundle = bundle;
      entry.hash = hash;
      entry.ordered = true;
      revision++;
      return true;
    },
    restart(host) {
      const entry = entries.get(normalizeName(host));
      if (entry) entry.ordered = false;
    },
    *served() {
      for (const [host, { bundle }] of entries) yield [host, bundle];
    },
    bundle: (serverName) => entryOf(serverName)?.bundle,
    secureContext(serverName) {
      const entry = entries.get(serverName) ?? entryOf(serverName);
      if (!entry) return undefined;
      if (!entry.bundle) return placeholder;
      try {
        return contextOf(entry.hash, entry.bundle);
      } catch {
        // Checked when it was issued, and yet TLS does not take it: as for a host without one.
        return placeholder;
      }
    },
    placeholderContext: () => placeholder,
    setPlaceholder(pair) {
      placeholder = secureContextOf(pair, protocol);
    },
  };
}

/** Lower case, without the trailing dot of a fully qualified name. */
export function normalizeName(name: string): string {
  const lower = name.toLowerCase();
  return lower.endsWith(".") ? lower.slice(0, -1) : lower;
}

function secureContextOf({ key, chain }: KeyPair, protocol: ProtocolOptions): SecureContext {
  return createSecureContext({ key, cert: chain, ...protocol });
}

function hashOf({ key, chain }: KeyPair): string {
  return createHash("sha256").update(key).update(chain).digest("base64url");
}
