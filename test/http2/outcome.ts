import { expect } from "vitest";
import { HEADERS } from "../../src/http2/frames.ts";
import type { Outcome } from "./cases.ts";
import type { RawClient } from "./support.ts";

/** Waits for what must come, and that the connection lives on where nothing says otherwise. */
export async function expectOutcome(client: RawClient, outcome: Outcome): Promise<void> {
  if (outcome === "survives") expect(await client.alive()).toBe(true);
  else if (outcome === "answer") {
    const frame = await client.next((each) => each.type === HEADERS && each.streamId === 1);
    expect(frame && client.decode(frame)[":status"]).toBe("200");
    expect(await client.alive()).toBe(true);
  } else if ("connection" in outcome) {
    expect(await client.goaway()).toBe(outcome.connection);
    expect(client.error, "the connection was reset").toBeUndefined();
  } else {
    expect(await client.reset(outcome.id ?? 1)).toBe(outcome.stream);
    expect(await client.alive()).toBe(true);
  }
}
