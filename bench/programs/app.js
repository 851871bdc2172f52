/** The least of an app, for the start of a wormhole around it: says its port to nobody, so that it has to be found. */
import { createServer } from "node:http";

createServer((_request, response) => response.end("up")).listen(0, "127.0.0.1");
