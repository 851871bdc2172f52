/** One end of the WebSocket tunnel of the npm package @deco-cx/warp-node: FOLDER server|client PORT KEY [DOMAIN TARGET]. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, end, port, key, domain, target] = process.argv.slice(2);
const module = join(folder, "node_modules/@deco-cx/warp-node/dist/mod.js");
const { connect, serve } = await import(pathToFileURL(module).href);
if (end === "server") {
  serve({ port: Number(port), apiKeys: [key] });
  console.log("end ready");
} else {
  const { registered, closed } = await connect({
    domain,
    localAddr: `http://${target}`,
    server: `ws://127.0.0.1:${port}`,
    apiKey: key,
  });
  await registered;
  console.log("tunnel up");
  await closed;
}
