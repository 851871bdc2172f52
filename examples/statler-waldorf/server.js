// One of the two critics: answers with its name, and leaves politely when told to.
import { createServer } from "node:http";

const { SERVER_NAME = "nobody", PORT = "8000", HOST = "::" } = process.env;

const server = createServer((_request, response) => {
  response.setHeader("content-type", "text/plain");
  response.end(`You have reached ${SERVER_NAME}\n`);
});

// Longer than the edge keeps idle connections, so that it is never we who close one that it is about to use.
server.keepAliveTimeout = 65_000;
server.listen(Number(PORT), HOST, () =>
  console.log(`${SERVER_NAME} listens on port ${server.address().port}`),
);

process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections();
});
