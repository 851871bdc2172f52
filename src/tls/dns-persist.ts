/**
 * dns-persist-01 (draft-ietf-acme-dns-persist): one TXT record, set once by hand, that lets one account issue for a name for
 * as long as it stands. Nothing is changed per order, so renewals need neither port 80 nor a key to the zone.
 */
import type { Clock } from "../clock.ts";
import { EdgeError } from "../errors.ts";
import type { Log } from "../log.ts";
import { parseParameters } from "./caa.ts";
import type { DnsClient } from "./dns-client.ts";
import { TYPE } from "./dns-message.ts";
import { parentOf, textOf } from "./dns-records.ts";
import type { ChallengeAnswer, Solver } from "./validate.ts";

export interface PersistSolverOptions {
  readonly dns: DnsClient;
  readonly clock: Clock;
  readonly log: Log;
}

export interface PersistRecord {
  /** "_validation-persist.example.com" */
  readonly name: string;
  readonly value: string;
}

const LABEL = "_validation-persist";
/** The draft's word for names below, and for wildcards. */
const WILDCARD = "wildcard";

export function persistSolver({ dns, clock, log }: PersistSolverOptions): Solver {
  return {
    type: "dns-persist-01",
    fits: ({ type }) => type === "dns",
    async present(answer, signal) {
      const issuers = issuersOf(answer);
      const wanted = persistRecord(answer, issuers[0] ?? "");
      const isGood = (value: string, above: boolean): boolean =>
        allows(value, {
          issuers,
          accountUrl: answer.accountUrl,
          wide: above || answer.wildcard,
          wall: clock.wall(),
        });
      // The name's own record, or one for a name above it with the policy that says so.
      for (let name = answer.name; name.includes("."); name = parentOf(name)) {
        const { records } = await dns.query(`${LABEL}.${name}`, TYPE.TXT, signal);
        if (records.some((record) => isGood(textOf(record), name !== answer.name))) return async () => {};
      }
      // Asked for before the CA is told, so that a record which is not there yet costs no attempt.
      log.warn("challenge.record_wanted", {
        host: answer.name,
        record: wanted.name,
        type: "TXT",
        value: wanted.value,
      });
      throw new EdgeError(
        "PREFLIGHT_FAILED",
        `${answer.name}: set this record once, and keep it: ${wanted.name} TXT "${wanted.value}"`,
        { source: "operator", retry: "any" },
      );
    },
  };
}

export function persistRecord(
  { name, wildcard, accountUrl }: Pick<ChallengeAnswer, "name" | "wildcard" | "accountUrl">,
  issuer: string,
): PersistRecord {
  const policy = wildcard ? `; policy=${WILDCARD}` : "";
  return { name: `${LABEL}.${name}`, value: `${issuer}; accounturi=${accountUrl}${policy}` };
}

/** The names under which the CA knows itself; any of them may stand in the record. */
function issuersOf({ challenge, name }: ChallengeAnswer): string[] {
  const listed = challenge["issuer-domain-names"];
  const names = Array.isArray(listed) ? listed.filter((each) => typeof each === "string") : [];
  if (names.length > 0) return names.map((each) => each.toLowerCase());
  throw new EdgeError("ACME_CHALLENGE_FAILED", `${name}: the CA's dns-persist-01 challenge names no issuer`, {
    source: "ca",
  });
}

function allows(
  text: string,
  wish: { issuers: readonly string[]; accountUrl: string; wide: boolean; wall: number },
): boolean {
  const { domain, parameters } = parseParameters(text);
  if (!wish.issuers.includes(domain) || parameters.get("accounturi") !== wish.accountUrl) return false;
  if (wish.wide && parameters.get("policy")?.toLowerCase() !== WILDCARD) return false;
  const until = parameters.get("persistuntil");
  return until === undefined || Number(until) * 1000 > wish.wall;
}
