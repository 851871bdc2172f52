/** Whether the app answers: a connection, or a request that is answered well. */
import { connect } from "node:net";
import type { Clock } from "../clock.ts";
import type { Target } from "./link.ts";

const TIMEOUT_MS = 2000;
const MAX_HEAD_BYTES = 4096;

/** Connects, and with a `path` asks for it: any status from 200 to 399 is good. Never rejects. */
export function targetAnswers(target: Target, path: string | undefined, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: target.host, port: target.port });
    let head = "";
    const settle = (good: boolean): void => {
      timer.cancel();
      socket.destroy();
      resolve(good);
    };
    const timer = clock.after(TIMEOUT_MS, () => settle(false));
    socket.on("error", () => settle(false));
    socket.on("close", () => settle(false));
    socket.on("connect", () => {
      if (path === undefined) settle(true);
      else
        socket.write(
          `GET ${path} HTTP/1.1\r\nHost: ${target.host}\r\nUser-Agent: wormhole\r\nConnection: close\r\n\r\n`,
        );
    });
    socket.on("data", (chunk: Buffer) => {
      head += chunk.toString("latin1");
      const status = /^HTTP\/1\.[01] (\d{3})[ \r]/.exec(head)?.[1];
      if (status !== undefined) settle(Number(status) >= 200 && Number(status) < 400);
      else if (head.length > MAX_HEAD_BYTES) settle(false);
    });
  });
}
