/**
 * Names of servers, resolved again and again: every address is a server, for as long as DNS says so. A name that cannot be
 * resolved keeps its last addresses for a while, as a DNS server that is away says nothing about the servers.
 */
import type { Clock, Timer } from "../clock.ts";
import type { Log } from "../log.ts";

/** What is asked: the addresses of a name, or its SRV records and the addresses of what they name. */
export interface Question {
  readonly name: string;
  readonly srv: boolean;
}

export interface Endpoint {
  readonly address: string;
  /** Where a record says it. */
  readonly port?: number;
  /** Share of the requests relative to the name's other endpoints. @default 1 */
  readonly weight?: number;
}

export interface Answer {
  readonly endpoints: readonly Endpoint[];
  /** Undefined where nobody says. */
  readonly ttlMs: number | undefined;
}

/** Asks once. Rejects where there is no answer, or one without endpoints. */
export type Resolve = (question: Question) => Promise<Answer>;

export interface NameBounds {
  readonly minTtlMs: number;
  readonly maxTtlMs: number;
  /** How long the last answer is used while none comes. */
  readonly keepStaleMs: number;
}

export interface NamesOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly resolve: Resolve;
  /** Read whenever they are needed, so that they may change. */
  readonly bounds: () => NameBounds;
  /** Hears of every failure. */
  onFailure?(name: string): void;
}

export interface Watch {
  /** What the name stands for now; the same array until it changes. */
  readonly endpoints: readonly Endpoint[];
  /** Resolves with the first answer or failure; at once where the name is known already. */
  readonly ready: Promise<void>;
  /** Something is wrong with an endpoint: asks again as soon as `minTtlMs` allows. */
  hurry(): void;
  stop(): void;
}

export interface Names {
  /** Follows a name. Everybody who watches the same one shares the questions. */
  watch(question: Question, onChange: () => void): Watch;
}

/** Between two questions where the answer has no TTL: the hosts file, the system's resolver, SRV records. */
export const UNTOLD_TTL_MS = 5000;
/** The first wait after a failure; it doubles with each. */
const FIRST_RETRY_MS = 1000;
const LONGEST_RETRY_MS = 15_000;

const keyOf = ({ address, port, weight }: Endpoint): string => `${address} ${port ?? ""} ${weight ?? ""}`;
const fingerprint = (endpoints: readonly Endpoint[]): string => endpoints.map(keyOf).sort().join();

class Name {
  endpoints: readonly Endpoint[] = [];
  readonly watchers = new Set<() => void>();
  readonly ready: Promise<void>;
  private readonly question: Question;
  private readonly options: NamesOptions;
  private isReady!: () => void;
  private timer: Timer | undefined;
  private asking = false;
  private askedAt = 0;
  private answeredAt = 0;
  private failures = 0;
  private stopped = false;

  constructor(question: Question, options: NamesOptions) {
    this.question = question;
    this.options = options;
    this.ready = new Promise((resolve) => {
      this.isReady = resolve;
    });
    this.ask();
  }

  hurry(): void {
    const { clock, bounds } = this.options;
    // After a failure the retry is due soon enough.
    if (this.asking || this.failures > 0) return;
    this.askIn(Math.max(0, this.askedAt + bounds().minTtlMs - clock.now()));
  }

  stop(): void {
    this.stopped = true;
    this.timer?.cancel();
    this.isReady();
  }

  private askIn(ms: number): void {
    this.timer?.cancel();
    this.timer = this.options.clock.after(ms, () => this.ask());
  }

  private ask(): void {
    this.asking = true;
    this.askedAt = this.options.clock.now();
    this.options
      .resolve(this.question)
      .then(
        (answer) => this.answered(answer),
        (error: unknown) => this.failed(error),
      )
      .finally(() => this.isReady());
  }

  private answered({ endpoints, ttlMs = UNTOLD_TTL_MS }: Answer): void {
    this.asking = false;
    if (this.stopped) return;
    const { clock, log, bounds } = this.options;
    const { minTtlMs, maxTtlMs } = bounds();
    const { name } = this.question;
    this.answeredAt = clock.now();
    if (this.failures > 0) log.info("dns.restored", { name, addresses: endpoints.length });
    this.failures = 0;
    this.change(endpoints);
    // From the question on: what the answer said was true then.
    const due = this.askedAt + Math.min(Math.max(ttlMs, minTtlMs), maxTtlMs);
    this.askIn(Math.max(due - clock.now(), 0));
  }

  private failed(error: unknown): void {
    this.asking = false;
    if (this.stopped) return;
    const { clock, log, bounds, onFailure } = this.options;
    const { name } = this.question;
    const { keepStaleMs } = bounds();
    onFailure?.(name);
    const code = (error as { code?: unknown } | undefined)?.code;
    if (this.failures === 0)
      log.warn("dns.failed", {
        name,
        code: typeof code === "string" ? code : "INTERNAL",
        keeps: this.endpoints.length,
      });
    const wait = Math.min(FIRST_RETRY_MS * 2 ** this.failures, LONGEST_RETRY_MS);
    this.failures = Math.min(this.failures + 1, 30);
    const left = this.answeredAt + keepStaleMs - clock.now();
    if (this.endpoints.length > 0 && left <= 0) {
      log.warn("dns.expired", { name, addresses: this.endpoints.length });
      this.change([]);
    }
    this.askIn(this.endpoints.length > 0 ? Math.min(wait, left) : wait);
  }

  private change(endpoints: readonly Endpoint[]): void {
    if (fingerprint(endpoints) === fingerprint(this.endpoints)) return;
    this.endpoints = endpoints;
    for (const watcher of [...this.watchers]) watcher();
  }
}

export function createNames(options: NamesOptions): Names {
  const names = new Map<string, Name>();
  return {
    watch(question, onChange) {
      const key = `${question.srv} ${question.name}`;
      const name = names.get(key) ?? new Name(question, options);
      names.set(key, name);
      // One function may watch twice; each watch ends by itself.
      const watcher = (): void => onChange();
      name.watchers.add(watcher);
      return {
        get endpoints() {
          return name.endpoints;
        },
        ready: name.ready,
        hurry: () => name.hurry(),
        stop() {
          name.watchers.delete(watcher);
          if (name.watchers.size > 0 || names.get(key) !== name) return;
          names.delete(key);
          name.stop();
        },
      };
    },
  };
}
