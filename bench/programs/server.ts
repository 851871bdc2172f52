/**
 * A server that can be made ill: `node server.ts PORT`. `/set?mode=ok|slow|busy|hang` changes how it answers, `/count`
 * says how many requests it was sent. Works 10 ms on each request, ten times as long when slow. With `later` as a second
 * argument it listens only once its standard input ends: so one that takes another's place costs no start-up then.
 */
import { createServer } from "node:http";

const WORK_MS = 10;
let mode = "ok";
let count = 0;

const server = createServer((request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://x");
  if (pathname === "/set") mode = searchParams.get("mode") ?? "ok";
  if (pathname === "/set" || pathname === "/count") {
    response.end(String(count));
    return;
  }
  count++;
  if (mode === "busy") response.writeHead(503).end("busy");
  else if (mode !== "hang") setTimeout(() => response.end("ok"), mode === "slow" ? 10 * WORK_MS : WORK_MS);
});
server.keepAliveTimeout = 75_000;

const listen = (): void => {
  server.listen(Number(process.argv[2]), "127.0.0.1", 4096);
};
if (process.argv[3] === "later") process.stdin.resume().once("end", listen);
else listen();
