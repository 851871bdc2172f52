/** http-proxy-3 with a keep-alive agent, with the two rules in its request handler. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { Agent } from "node:http";
import { createSecureServer } from "node:http2";
import httpProxy from "http-proxy-3";
import { DENY_HEADER, EDGE_HEADER } from "../targets/target.ts";
import { pickBackend, serverOptions, site } from "./site.ts";

const proxy = httpProxy.createProxyServer({
  xfwd: true,
  agent: new Agent({ keepAlive: true, maxSockets: 512, maxFreeSockets: 512, scheduling: "lifo" }),
});
proxy.on("error", (_error, _request, response) => {
  if (!("writeHead" in response) || response.headersSent) return response.end();
  response.writeHead(502).end();
});

createSecureServer(serverOptions, (request, response) => {
  if (site.rules) {
    if (request.headers[DENY_HEADER] !== undefined) {
      response.writeHead(403).end();
      return;
    }
    response.setHeader(EDGE_HEADER, "http-proxy-3");
  }
  // The compat classes of node:http2 are what http-proxy-3 itself hands to `web`.
  proxy.web(request as unknown as IncomingMessage, response as unknown as ServerResponse, {
    target: pickBackend(),
  });
}).listen({ port: site.port, host: "127.0.0.1", backlog: 4096 });
