import { defineEdge } from "skerry";

const { SERVERS = "http://statler:8000,http://waldorf:8000" } = process.env;
const { HTTP = "[::]:80", HTTPS = "[::]:443", ADMIN = "127.0.0.1:9180" } = process.env;

export default defineEdge({
  listen: { http: HTTP, https: HTTPS, admin: ADMIN },
  backends: { critics: { servers: SERVERS.split(",") } },
  hosts: { "app.localhost": { backend: "critics" } },
});
