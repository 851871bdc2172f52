/** DNS for tests: a server that says what it is told, trouble included; and Debian's dnsmasq, whose records can change. */
import { createSocket } from "node:dgram";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./ports.ts";
import { type Child, listening, start } from "./processes.ts";

export type Type = "A" | "AAAA" | "SRV";

export interface Srv {
  readonly priority: number;
  readonly weight: number;
  readonly port: number;
  readonly target: string;
}

/** What is said of a name and a type. Records of no length are NOERROR without an answer. */
export type Said =
  | { readonly ttl: number; readonly records: readonly (string | Srv)[] }
  | "NXDOMAIN"
  | "SERVFAIL"
  | "REFUSED"
  | "silence";

export interface DnsServer {
  /** `127.0.0.1:PORT` */
  readonly address: string;
  /** "web.test A", in the order they came. */
  readonly asked: string[];
  close(): void;
}

const TYPES: Readonly<Record<number, Type>> = { 1: "A", 28: "AAAA", 33: "SRV" };
const RCODES = { NXDOMAIN: 3, SERVFAIL: 2, REFUSED: 5 } as const;

function nameBytes(name: string): Buffer {
  const labels = name.split(".").filter((label) => label !== "");
  return Buffer.concat([
    ...labels.map((label) => Buffer.from([label.length, ...Buffer.from(label)])),
    Buffer.from([0]),
  ]);
}

function v6Bytes(address: string): Buffer {
  const [head = "", tail = ""] = address.split("::");
  const parts = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((part) => Number.parseInt(part, 16));
  const [first, last] = [parts(head), parts(tail)];
  const all = [...first, ...Array<number>(8 - first.length - last.length).fill(0), ...last];
  return Buffer.from(all.flatMap((part) => [part >> 8, part & 255]));
}

function recordBytes(record: string | Srv): Buffer {
  if (typeof record === "string")
    return record.includes(":") ? v6Bytes(record) : Buffer.from(record.split(".").map(Number));
  const numbers = Buffer.alloc(6);
  numbers.writeUInt16BE(record.priority, 0);
  numbers.writeUInt16BE(record.weight, 2);
  numbers.writeUInt16BE(record.port, 4);
  return Buffer.concat([numbers, nameBytes(record.target)]);
}

/** A DNS server on a UDP port of the loopback. */
export async function startDns(say: (name: string, type: Type) => Said): Promise<DnsServer> {
  const asked: string[] = [];
  const socket = createSocket("udp4");
  socket.on("message", (message, peer) => {
    const labels: string[] = [];
    let at = 12;
    for (let length = message[at]!; length > 0; length = message[at]!) {
      labels.push(message.subarray(at + 1, at + 1 + length).toString());
      at += 1 + length;
    }
    const name = labels.join(".").toLowerCase();
    const code = message.readUInt16BE(at + 1);
    const type = TYPES[code];
    asked.push(`${name} ${type ?? code}`);
    const said = type ? say(name, type) : "NXDOMAIN";
    if (said === "silence") return;
    const question = message.subarray(12, at + 5);
    const records = typeof said === "string" ? [] : said.records;
    const header = Buffer.alloc(12);
    message.copy(header, 0, 0, 2);
    header.writeUInt16BE(0x8580 | (typeof said === "string" ? RCODES[said] : 0), 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(records.length, 6);
    const answers = records.map((record) => {
      const data = recordBytes(record);
      const fields = Buffer.alloc(12);
      fields.writeUInt16BE(0xc00c, 0); // The question's name again.
      fields.writeUInt16BE(code, 2);
      fields.writeUInt16BE(1, 4);
      fields.writeUInt32BE(typeof said === "string" ? 0 : said.ttl, 6);
      fields.writeUInt16BE(data.length, 10);
      return Buffer.concat([fields, data]);
    });
    socket.send(Buffer.concat([header, question, ...answers]), peer.port, peer.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  return { address: `127.0.0.1:${socket.address().port}`, asked, close: () => socket.close() };
}

export interface Dnsmasq {
  readonly address: string;
  readonly process: Child;
  /** Makes the addresses of names be these, at once. */
  set(hosts: Readonly<Record<string, readonly string[]>>): void;
}

/** Starts dnsmasq, which answers for `*.test` alone, with a TTL in seconds. */
export async function startDnsmasq(
  ttl: number,
  hosts: Readonly<Record<string, readonly string[]>>,
  srv: readonly string[] = [],
): Promise<Dnsmasq> {
  const file = join(mkdtempSync(join(tmpdir(), "skerry-dns-")), "hosts");
  const port = await freePort();
  const write = (names: Readonly<Record<string, readonly string[]>>): void =>
    writeFileSync(
      file,
      Object.entries(names)
        .flatMap(([name, addresses]) => addresses.map((address) => `${address} ${name}\n`))
        .join(""),
    );
  write(hosts);
  const child = start(
    "dnsmasq",
    [
      ...[
        "--keep-in-foreground",
        "--log-facility=-",
        "--log-queries",
        "--conf-file=/dev/null",
        "--pid-file=",
      ],
      ...["--no-resolv", "--no-hosts", `--addn-hosts=${file}`, `--local-ttl=${ttl}`, "--local=/test/"],
      ...["--listen-address=127.0.0.1", "--bind-interfaces", `--port=${port}`, "--user="],
      ...srv.map((record) => `--srv-host=${record}`),
    ],
    { env: { PATH: `${process.env.PATH ?? ""}:/usr/sbin` } },
  );
  await Promise.race([listening(port), child.ended.then(() => Promise.reject(new Error(child.output())))]);
  return {
    address: `127.0.0.1:${port}`,
    process: child,
    set(names) {
      write(names);
      child.signal("SIGHUP"); // Reads the file again and forgets what it remembered.
    },
  };
}
