// The same two critics, but the edge does not know where they are: they come by wormholes.
import { defineEdge } from "skerry";

const { HTTP = "[::]:80", HTTPS = "[::]:443", ADMIN = "127.0.0.1:9180", DIAL = "skerry:443" } = process.env;

export default defineEdge({
  listen: { http: HTTP, https: HTTPS, admin: ADMIN },
  tunnel: { address: DIAL },
  backends: { critics: {} },
  hosts: { "app.localhost": { backend: "critics" } },
});
