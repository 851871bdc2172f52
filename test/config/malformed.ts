/** Configs with one fault each, and the line that says so. Also a program: prints what this runtime says of each. */
import { resolveConfig } from "../../src/config/resolve.ts";
import { messageOf } from "../../src/errors.ts";

export const acme: object = { directory: "https://127.0.0.1:14000/dir", agreeToTerms: true };
export const good: object & { acme: object; backends: object; hosts: object } = {
  acme,
  backends: { web: { servers: ["http://10.0.0.5:8000"] } },
  hosts: { "a.example.test": { backend: "web" } },
};

export const backend = (web: unknown): object => ({ ...good, backends: { web } });
export const servers = (...list: unknown[]): object => backend({ servers: list });
export const hosts = (map: unknown): object => ({ ...good, hosts: map });
const host = (name: string): object => hosts({ [name]: { backend: "web" } });

const EMPTY = 'hosts: empty; add one, such as "app.example.com": { backend: "web" }';

export const MALFORMED: [what: string, input: unknown, line: string | RegExp][] = [
  ["a config that is no object", "web", 'expected an object, got "web"'],
  ["an array", [], "expected an object, got an array"],
  ["null", null, "expected an object, got null"],
  ["no hosts", { acme }, "hosts: missing"],
  ["empty hosts that no command can fill", { ...hosts({}), storage: "memory:" }, EMPTY],
  ["empty hosts that would have no certificate", { ...hosts({}), acme: undefined }, EMPTY],
  [
    "empty hosts, and a CA whose terms are not agreed to",
    { ...hosts({}), acme: {} },
    "acme.agreeToTerms: must be true to order certificates; read the CA's terms of service, then add agreeToTerms: true",
  ],
  ["a misspelt field", { ...good, lisen: {} }, 'lisen: unknown field; did you mean "listen"?'],
  [
    "a misspelt nested field",
    backend({ helth: {} }),
    'backends.web.helth: unknown field; did you mean "health"?',
  ],
  [
    "a field without its unit",
    { ...good, drainTimeout: 5 },
    'drainTimeout: unknown field; did you mean "drainTimeoutMs"?',
  ],
  [
    "a letter in a port",
    servers("http://10.0.0.4:8000", "10.0.0.5:80O0"),
    'backends.web.servers[1]: not a URL: "10.0.0.5:80O0"',
  ],
  [
    "a server without protocol",
    servers("10.0.0.5:8000"),
    'backends.web.servers[0]: not a URL: "10.0.0.5:8000"; did you mean "http://10.0.0.5:8000"?',
  ],
  [
    "a server's port out of range",
    servers("http://a:70000"),
    'backends.web.servers[0]: not a URL: "http://a:70000"',
  ],
  [
    "a server's port 0",
    servers("http://a:0"),
    'backends.web.servers[0]: port 0 cannot be connected to: "http://a:0"',
  ],
  [
    "a server of another protocol",
    servers("ftp://a"),
    'backends.web.servers[0]: protocol "ftp" is none of http, https, h2c, unix, srv+http, srv+https, srv+h2c: "ftp://a"',
  ],
  [
    "a socket without path",
    servers("unix:"),
    'backends.web.servers[0]: no path in "unix:"; write "unix:/run/app.sock"',
  ],
  [
    "a socket twice",
    servers("unix:/run/a.sock", "unix:///run/a.sock"),
    "backends.web.servers[1]: is servers[0] again; use weight to send it more",
  ],
  [
    "SRV records with a port",
    servers("srv+http://web.internal:80"),
    'backends.web.servers[0]: SRV records say the port: write "srv+http://web.internal", not "srv+http://web.internal:80"',
  ],
  [
    "SRV records of an address",
    servers("srv+https://10.0.0.5"),
    'backends.web.servers[0]: an address has no SRV records: "srv+https://10.0.0.5"',
  ],
  [
    "SRV records of an unknown protocol",
    servers("srv+ftp://a"),
    'backends.web.servers[0]: protocol "srv+ftp" is none of http, https, h2c, unix, srv+http, srv+https, srv+h2c: "srv+ftp://a"',
  ],
  [
    "a server of a protocol that every object has",
    servers("constructor://a"),
    'backends.web.servers[0]: protocol "constructor" is none of http, https, h2c, unix, srv+http, srv+https, srv+h2c: "constructor://a"',
  ],
  [
    "a server with a path",
    servers("http://a:80/app"),
    'backends.web.servers[0]: a server\'s URL takes no path or query: write "http://a", not "http://a:80/app"',
  ],
  [
    "a server with a query",
    servers("h2c://a:81?x=1"),
    'backends.web.servers[0]: a server\'s URL takes no path or query: write "h2c://a:81", not "h2c://a:81?x=1"',
  ],
  [
    "a server twice",
    servers("http://a:80", "http://a"),
    "backends.web.servers[1]: is servers[0] again; use weight to send it more",
  ],
  [
    "a server that is a number",
    servers(8000),
    "backends.web.servers[0]: expected a URL or { url, weight, location }, got 8000",
  ],
  [
    "a policy that is none",
    backend({ balance: "p3c" }),
    'backends.web.balance: expected one of "p2c", "roundRobin", "random", "leastRequest"; got "p3c"',
  ],
  [
    "a hash of nothing",
    backend({ balance: { consistentHash: {} } }),
    "backends.web.balance.consistentHash: names nothing to hash: give header, cookie or clientAddress: true",
  ],
  [
    "a threshold above 1",
    backend({ panicThreshold: 50 }),
    "backends.web.panicThreshold: must be a number from 0 to 1, got 50",
  ],
  [
    "a cap of 0",
    backend({ maxInFlight: 0 }),
    "backends.web.maxInFlight: must be a whole number from 1 to 1000000, got 0",
  ],
  [
    "a weight of 0",
    servers({ url: "http://a", weight: 0 }),
    "backends.web.servers[0].weight: must be a whole number from 1 to 1000, got 0",
  ],
  [
    "servers that are no array",
    backend({ servers: "http://a" }),
    'backends.web.servers: expected an array, got "http://a"',
  ],
  [
    "a negative timeout",
    backend({ connectTimeoutMs: -1 }),
    "backends.web.connectTimeoutMs: must be a whole number from 1 to 2147483647, got -1",
  ],
  [
    "a fraction of a millisecond",
    { ...good, drainTimeoutMs: 1.5 },
    "drainTimeoutMs: must be a whole number from 1 to 2147483647, got 1.5",
  ],
  [
    "a timeout as text",
    { ...good, drainTimeoutMs: "30s" },
    'drainTimeoutMs: must be a whole number from 1 to 2147483647, got "30s"',
  ],
  [
    "a probe slower than its interval",
    backend({ health: { timeoutMs: 20_000 } }),
    "backends.web.health.timeoutMs: (20000) must be below intervalMs (10000)",
  ],
  [
    "a health path without slash",
    backend({ health: { path: "up" } }),
    'backends.web.health.path: must start with "/" and hold no space: "up"',
  ],
  [
    "a status that is none",
    backend({ health: { status: "2xx" } }),
    'backends.web.health.status: not a range of statuses from 200 to 599, such as "200-399": "2xx"',
  ],
  [
    "a TCP check with a path",
    backend({ health: { tcp: true, path: "/up" } }),
    "backends.web.health.path: means nothing to a TCP check; remove it, or tcp: true",
  ],
  [
    "a client certificate without key",
    backend({ servers: ["https://a"], tls: { cert: "/nowhere/a.pem" } }),
    "backends.web.tls: a certificate needs its key: set both cert and key",
  ],
  [
    "tls for servers without any",
    backend({ servers: ["http://a"], tls: { verify: false } }),
    "backends.web.tls: none of the servers is https",
  ],
  [
    "a CA that is not there",
    backend({ servers: ["https://a"], tls: { ca: "/nowhere/ca.pem" } }),
    'backends.web.tls.ca: cannot read "/nowhere/ca.pem": no such file',
  ],
  [
    "a DNS server that is a name",
    { ...good, dns: { servers: ["ns.internal"] } },
    'dns.servers[0]: not the address of a DNS server, such as "10.0.0.53" or "10.0.0.53:53": "ns.internal"',
  ],
  [
    "a least TTL above the most",
    { ...good, dns: { minTtlMs: 5000, maxTtlMs: 2000 } },
    "dns.minTtlMs: (5000) must not be above maxTtlMs (2000)",
  ],
  [
    "a backend's name with a space",
    { ...good, backends: { ...good.backends, "my app": {} } },
    'backends["my app"]: a backend\'s name is 1 to 63 letters, digits, dots, dashes and underscores',
  ],
  [
    "a host whose backend is misspelt",
    hosts({ "a.example.test": { backend: "wbe" } }),
    'hosts["a.example.test"].backend: no backend "wbe"; did you mean "web"?',
  ],
  [
    "a host whose backend is far from any",
    hosts({ "a.example.test": { backend: "statler" } }),
    'hosts["a.example.test"].backend: no backend "statler"; known are web',
  ],
  ["a host without backend", hosts({ "a.example.test": {} }), 'hosts["a.example.test"].backend: missing'],
  [
    "a host that is a name",
    hosts({ "a.example.test": "web" }),
    'hosts["a.example.test"]: expected { backend }, { app } or a Hono app, got "web"',
  ],
  [
    "middleware that is no function",
    hosts({ "a.example.test": { backend: "web", use: ["cache"] } }),
    'hosts["a.example.test"].use[0]: expected middleware (a function), got "cache"',
  ],
  [
    "a wildcard",
    host("*.example.com"),
    'hosts["*.example.com"]: a wildcard\'s certificate takes DNS-01: set acme.dns, or list each name',
  ],
  ["an address as host", host("10.0.0.1"), 'hosts["10.0.0.1"]: an IP address is not a host name'],
  [
    "a host in hexadecimal",
    host("0x7f.1"), // The runtimes read it differently, and all refuse it.
    /^hosts\["0x7f\.1"\]: (means the IP address 127\.0\.0\.1, which is )?not a host name$/,
  ],
  ["an IPv6 address as host", host("[::1]"), 'hosts["[::1]"]: an IP address is not a host name'],
  [
    "a host with a port",
    host("a.example.test:443"),
    'hosts["a.example.test:443"]: a host name takes no port; ports are set in listen',
  ],
  [
    "a URL as host",
    host("https://a.example.test"),
    'hosts["https://a.example.test"]: a host name, not a URL, belongs here',
  ],
  ["a host with an underscore", host("a_b.example.test"), 'hosts["a_b.example.test"]: not a host name'],
  ["a host with an empty label", host("a..example.test"), 'hosts["a..example.test"]: not a host name'],
  ["an empty host", host(""), 'hosts[""]: not a host name'],
  [
    "a host twice in two spellings",
    hosts({ "a.example.test": { backend: "web" }, "A.example.test.": { backend: "web" } }),
    'hosts["A.example.test."]: is the same host as "a.example.test"',
  ],
  [
    "an address without port",
    { ...good, listen: { https: "nowhere" } },
    'listen.https: not host:port: "nowhere"',
  ],
  [
    "a port alone",
    { ...good, listen: { https: "8443" } },
    'listen.https: no host in "8443"; write "[::]:8443"',
  ],
  [
    "a listen port out of range",
    { ...good, listen: { http: "127.0.0.1:70000" } },
    "listen.http: port 70000 is not between 0 and 65535",
  ],
  ["bare IPv6", { ...good, listen: { http: "::1" } }, 'listen.http: no port in "::1"; write "[::1]:443"'],
  [
    "two listeners on one address",
    { ...good, listen: { http: "[::]:8443", https: "127.0.0.1:8443" } },
    "listen.https: 127.0.0.1:8443 is taken by listen.http ([::]:8443)",
  ],
  [
    "a listener on the default of another",
    { ...good, listen: { admin: "127.0.0.1:443" } },
    "listen.admin: 127.0.0.1:443 is taken by listen.https ([::]:443)",
  ],
  [
    "storage without file:",
    { ...good, storage: "./certs" },
    'storage: not file:FOLDER: "./certs"; did you mean "file:./certs"?',
  ],
  [
    "storage of an unknown kind",
    { ...good, storage: "redis://:secret@a" },
    'storage: "redis:" is no kind of storage; write "file:./certs"',
  ],
  [
    "no acme",
    { backends: good.backends, hosts: good.hosts },
    'acme: missing, but "a.example.test" has no tls of its own; add acme: { email: "you@example.com", agreeToTerms: true }',
  ],
  [
    "terms not agreed to",
    { ...good, acme: { ...acme, agreeToTerms: false } },
    "acme.agreeToTerms: must be true to order certificates; read the CA's terms of service, then add agreeToTerms: true",
  ],
  [
    "terms agreed to with a word",
    { ...good, acme: { ...acme, agreeToTerms: "yes" } },
    'acme.agreeToTerms: expected true or false, got "yes"',
  ],
  [
    "an e-mail address without @",
    { ...good, acme: { ...acme, email: "ops" } },
    'acme.email: not an e-mail address: "ops"',
  ],
  [
    "a directory over http",
    { ...good, acme: { ...acme, directory: "http://ca.example/dir" } },
    'acme.directory: must be https: "http://ca.example/dir"',
  ],
  [
    "a trusted CA that is not there",
    { ...good, acme: { ...acme, trustedCa: "/nowhere/ca.pem" } },
    'acme.trustedCa: cannot read "/nowhere/ca.pem": no such file',
  ],
  [
    "a private name at Let's Encrypt",
    { ...good, acme: { agreeToTerms: true } },
    'hosts["a.example.test"]: Let\'s Encrypt signs public names only; add tls: { cert, key }, set acme.directory to your own CA, or try it with skerry dev',
  ],
  [
    "tls without key",
    hosts({ "a.example.test": { backend: "web", tls: { cert: "a.pem" } } }),
    'hosts["a.example.test"].tls.key: missing',
  ],
  [
    "tls files that are not there",
    hosts({ "a.example.test": { backend: "web", tls: { cert: "/nowhere/a.pem", key: "/nowhere/a.key" } } }),
    'hosts["a.example.test"].tls.cert: cannot read "/nowhere/a.pem": no such file',
  ],
  [
    "a proxy range that is none",
    { ...good, trustedProxies: ["10.0.0.0/33"] },
    'trustedProxies[0]: not an IP address or CIDR range: "10.0.0.0/33"',
  ],
  [
    "a limit of 0",
    { ...good, limits: { http2: { maxStreams: 0 } } },
    "limits.http2.maxStreams: must be a whole number from 1 to 2147483647, got 0",
  ],
  [
    "a window that starts above its most",
    { ...good, limits: { http2: { maxStreamWindowBytes: 65_535 } } },
    "limits.http2.streamWindowBytes: (262144) must not be above maxStreamWindowBytes (65535)",
  ],
  [
    "an unknown limit",
    { ...good, limits: { maxHeader: 5 } },
    'limits.maxHeader: unknown field; did you mean "maxHeaders"?',
  ],
  [
    "an unknown log level",
    { ...good, logLevel: "loud" },
    'logLevel: expected one of "debug", "info", "warn", "error"; got "loud"',
  ],
];

/** Every line that is said of a config. */
export function problemsOf(input: unknown): string[] {
  try {
    resolveConfig(input);
    return [];
  } catch (error) {
    return messageOf(error).split("\n");
  }
}

if (process.argv[2] === "print")
  process.stdout.write(JSON.stringify(MALFORMED.map(([, input]) => problemsOf(input))));
