/** As DNS with an address of each edge: whoever asks, above all a CA with its challenges, reaches one edge after another. */
import { createServer, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export interface Front {
  readonly port: number;
  close(): void;
}

/** Passes plain HTTP on to the edges that `ports` gives, in turn, past those that cannot be reached; 503 where none can. */
export async function startFront(ports: () => readonly number[]): Promise<Front> {
  let turn = 0;
  const server: Server = createServer((from, to) => {
    const up = ports();
    const first = turn++;
    const attempt = (tries: number): void => {
      const port = up[(first + tries) % Math.max(up.length, 1)];
      if (port === undefined || tries >= up.length) return void to.writeHead(503).end();
      const ask = request({ host: "127.0.0.1", port, path: from.url, headers: from.headers });
      ask.on("response", (answer) => {
        to.writeHead(answer.statusCode ?? 502);
        answer.pipe(to);
      });
      ask.on("error", () => (to.headersSent ? to.destroy() : attempt(tries + 1)));
      ask.end();
    };
    attempt(0);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { port: (server.address() as AddressInfo).port, close: () => void server.close() };
}
