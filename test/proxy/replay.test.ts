import { describe, expect, test } from "vitest";
import { EdgeError } from "../../src/errors.ts";
import type { ByteSink, ByteSource } from "../../src/exchange/body.ts";
import { MAX_REPLAY_BYTES, ReplayBody } from "../../src/proxy/replay.ts";

/** A body that the test feeds by hand. */
function hand(): ByteSource & { sink?: ByteSink; resumed: number; cancelled: boolean } {
  return {
    length: undefined,
    started: false,
    resumed: 0,
    cancelled: false,
    start(sink) {
      (this as { started: boolean }).started = true;
      this.sink = sink;
    },
    resume() {
      this.resumed++;
    },
    cancel() {
      this.cancelled = true;
    },
  };
}
function reader(full = false): ByteSink & { text: string; ended: boolean; error?: EdgeError } {
  return {
    text: "",
    ended: false,
    write(chunk) {
      this.text += Buffer.from(chunk).toString();
      return !full;
    },
    end() {
      this.ended = true;
    },
    abort(error) {
      this.error = error;
    },
  };
}

describe("a body kept for replay", () => {
  test("passes through, and again from its start on the second attempt", () => {
    const source = hand();
    const body = new ReplayBody(source);
    const first = reader();
    const view = body.attempt();
    view.start(first);
    source.sink!.write(Buffer.from("one "));
    view.cancel();
    expect(source.cancelled).toBe(false);
    expect(source.sink!.write(Buffer.from("two "))).toBe(false);
    expect(body.replayable).toBe(true);
    const second = reader();
    body.attempt().start(second);
    expect(second.text).toBe("one two ");
    expect(source.resumed).toBe(1);
    source.sink!.write(Buffer.from("three"));
    source.sink!.end();
    expect(first.text).toBe("one ");
    expect(second.text).toBe("one two three");
    expect(second.ended).toBe(true);
  });

  test("a body that had ended ends again", () => {
    const source = hand();
    const body = new ReplayBody(source);
    body.attempt().start(reader());
    source.sink!.write(Buffer.from("all"));
    source.sink!.end();
    const second = reader();
    body.attempt().start(second);
    expect(second).toMatchObject({ text: "all", ended: true });
  });

  test("is not resumed into a sink that is full", () => {
    const source = hand();
    const body = new ReplayBody(source);
    body.attempt().start(reader());
    source.sink!.write(Buffer.from("x"));
    const view = body.attempt();
    view.start(reader(true));
    expect(source.resumed).toBe(0);
    view.resume();
    expect(source.resumed).toBe(1);
  });

  test("late calls of an attempt that is over change nothing", () => {
    const source = hand();
    const body = new ReplayBody(source);
    const old = body.attempt();
    old.start(reader());
    const current = body.attempt();
    const sink = reader();
    current.start(sink);
    old.resume();
    old.cancel();
    old.start(reader());
    source.sink!.write(Buffer.from("x"));
    expect(sink.text).toBe("x");
    expect(source.cancelled).toBe(false);
  });

  test("is not replayable once more went out than is kept", () => {
    const source = hand();
    const body = new ReplayBody(source);
    body.attempt().start(reader());
    source.sink!.write(new Uint8Array(MAX_REPLAY_BYTES));
    expect(body.replayable).toBe(true);
    source.sink!.write(new Uint8Array(1));
    expect(body.replayable).toBe(false);
  });

  test("is not replayable once the client broke off", () => {
    const source = hand();
    const body = new ReplayBody(source);
    const sink = reader();
    body.attempt().start(sink);
    source.sink!.abort(new EdgeError("CLIENT_CLOSED", "gone"));
    expect(sink.error?.code).toBe("CLIENT_CLOSED");
    expect(body.replayable).toBe(false);
  });

  test("after the answer a cancel reaches the client's body, before or after", () => {
    const one = hand();
    const body = new ReplayBody(one);
    const view = body.attempt();
    view.start(reader());
    body.settle();
    expect(one.cancelled).toBe(false);
    view.cancel();
    expect(one.cancelled).toBe(true);
    const two = hand();
    const other = new ReplayBody(two);
    other.attempt().cancel();
    other.settle();
    expect(two.cancelled).toBe(true);
  });
});
