/**
 * A sample container for `skerry dev`: answers every request with its name. It ends when its standard input does,
 * so it never outlives the process that started it, however that one ends.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

const name = process.env.SERVER_NAME ?? "a sample server";
const port = Number(process.env.PORT ?? 0);

const server = createServer((request, response) => {
  request.resume();
  response.writeHead(200, { "content-type": "text/plain; charset=utf-8", "x-server": name });
  response.end(`You have reached ${name}\n`);
});

server.listen(port, "127.0.0.1", () => {
  process.stdout.write(`listening on ${(server.address() as AddressInfo).port}\n`);
});

const leave = (): void => process.exit(0);
process.stdin.on("end", leave).on("close", leave).resume();
process.on("SIGTERM", leave);
// Ctrl-C reaches the whole group of the terminal, but the edge drains first and needs its servers until then.
process.on("SIGINT", () => {});
