/**
 * Opens TLS connections, sends one request on each, and keeps them until it is ended:
 * `idle-clients.ts PORT COUNT`. Prints "ready errors=N" once all are open, and "closed" for each that the
 * proxy closes after that.
 */
import { connect } from "node:tls";
import { HOSTNAME } from "../targets/target.ts";

const [port = 0, count = 0] = process.argv.slice(2).map(Number);
const AT_ONCE = 16;

let begun = 0;
let settled = 0;
let errors = 0;

function openNext(): void {
  if (begun === count) return;
  begun += 1;
  let answered = false;
  let text = "";
  const socket = connect({ host: "127.0.0.1", port, servername: HOSTNAME, rejectUnauthorized: false });
  const settle = (ok: boolean): void => {
    if (answered) return;
    answered = true;
    settled += 1;
    if (!ok) errors += 1;
    if (settled === count) process.stdout.write(`ready errors=${errors}\n`);
    openNext();
  };
  socket.on("secureConnect", () => socket.write(`GET / HTTP/1.1\r\nHost: ${HOSTNAME}\r\n\r\n`));
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
    // The small body is all "x", so its last bytes tell that the answer is whole.
    const head = text.indexOf("\r\n\r\n");
    if (head >= 0 && text.length >= head + 4 + 1024) settle(text.startsWith("HTTP/1.1 200"));
  });
  socket.on("error", () => settle(false));
  socket.on("close", () => {
    if (answered) process.stdout.write("closed\n");
    settle(false);
  });
}

for (let at = 0; at < AT_ONCE; at++) openNext();
