// Run on each runtime: obtains certificates and serves them by SNI, until its standard input ends.
// argv: the ACME directory, a file with the CA of its HTTPS, the storage folder, the port for challenges.
import { readFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { createServer } from "node:tls";
import { systemClock, systemRandom } from "../../src/clock.ts";
import { createLog } from "../../src/log.ts";
import { createMetrics } from "../../src/metrics.ts";
import { openFilesystemStorage } from "../../src/storage/filesystem.ts";
import { createHttpChallenge } from "../../src/tls/challenge.ts";
import { createAcmeIssuer } from "../../src/tls/issuer.ts";
import { createCertificateManager } from "../../src/tls/manager.ts";
import { createResolver } from "../../src/tls/resolver.ts";

const [directory = "", caPath = "", root = "", challengePort = ""] = process.argv.slice(2);
const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`);
const log = createLog({ level: "debug", write: (line) => void process.stdout.write(line) });
const clock = systemClock;
const storage = openFilesystemStorage(root, { clock, log });
const challenge = createHttpChallenge();
const resolver = createResolver();

const front = createHttpServer(async (request, response) => {
  const answer = await challenge.answerSoon(request.url ?? "", AbortSignal.timeout(3000));
  response.statusCode = answer === undefined ? 404 : 200;
  response.end(answer);
});
// Several of these share the port, as workers of one edge do: any of them may be asked.
createTcpServer((socket) => front.emit("connection", socket)).listen({
  port: Number(challengePort),
  host: "127.0.0.1",
  reusePort: true,
});

const server = createServer(
  {
    SNICallback(name, done) {
      const context = name ? resolver.secureContext(name) : resolver.placeholderContext();
      if (context) done(null, context);
      else done(new Error("not a name of ours"));
    },
  },
  (socket) => {
    socket.on("error", () => {});
    socket.end("hello");
  },
);
server.on("tlsClientError", () => {});
server.listen(0, "127.0.0.1", () =>
  say({ event: "listening", port: (server.address() as AddressInfo).port }),
);

const config = {
  directory,
  trustedCa: readFileSync(caPath, "utf8"),
  email: "ops@example.com",
  agreeToTerms: true,
};
const manager = createCertificateManager({
  hosts: ["a.example.test", "b.example.test"],
  storage,
  issuer: createAcmeIssuer({ config, storage, challenge, clock }),
  resolver,
  clock,
  random: systemRandom,
  log,
  metrics: createMetrics(),
});
await storage.check();
await manager.start();
say({ event: "started", states: manager.status().map(({ state }) => state) });

const watch = (): void => {
  if (manager.status().every(({ state }) => state === "valid")) say({ event: "served-all" });
  else clock.after(20, watch);
};
watch();

process.stdin.on("end", async () => {
  await manager.close();
  await storage.close();
  say({ event: "closed" });
  process.exit(0);
});
process.stdin.resume();
