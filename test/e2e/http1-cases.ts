/** Requests as RFC 9112 and RFC 9110 have them, good and bad, by section. */

const HOST = "Host: app.example.test\r\n";
const CHUNKED = "Transfer-Encoding: chunked\r\n";
const GET = `GET / HTTP/1.1\r\n${HOST}\r\n`;

/** `[section, what, bytes, statuses]`: all are answered, in order; the connection stays open unless `closes`. */
export interface Valid {
  readonly section: string;
  readonly what: string;
  readonly text: string;
  /** What the origin says that it got, per request: method, target, and the body's bytes. */
  readonly seen: readonly string[];
  readonly closes?: true;
  /** The origin's word is not the client's to hear. */
  readonly head?: true;
}

export interface Refused {
  readonly section: string;
  readonly what: string;
  readonly text: string;
  readonly status: number;
  /** Requests that are answered before the refused one. */
  readonly before?: number;
}

export const VALID: readonly Valid[] = [
  { section: "9112 §3", what: "a plain request", text: GET, seen: ["GET / "] },
  {
    section: "9112 §2.2",
    what: "an empty line before the request line",
    text: `\r\n${GET}`,
    seen: ["GET / "],
  },
  {
    section: "9112 §2.3",
    what: "HTTP/1.0 with Host, which closes",
    text: `GET / HTTP/1.0\r\n${HOST}\r\n`,
    seen: ["GET / "],
    closes: true,
  },
  {
    section: "9112 §C.2.2",
    what: "HTTP/1.0 that asks to be kept alive",
    text: `GET / HTTP/1.0\r\n${HOST}Connection: keep-alive\r\n\r\n`,
    seen: ["GET / "],
  },
  {
    section: "9112 §3.2.1",
    what: "a query, and characters that need no escape",
    text: `GET /a/b;c=d/%C3%A9/!$&'()*+,=:@~?q=%20&r[]=1?/ HTTP/1.1\r\n${HOST}\r\n`,
    seen: ["GET /a/b;c=d/%C3%A9/!$&'()*+,=:@~?q=%20&r[]=1?/ "],
  },
  {
    section: "9112 §3.2.2",
    what: "an absolute target whose authority replaces Host",
    text: "GET https://app.example.test/x?y HTTP/1.1\r\nHost: other.example.test\r\n\r\n",
    seen: ["GET /x?y "],
  },
  {
    section: "9112 §3.2.2",
    what: "an absolute target without a path",
    text: `GET HTTPS://app.example.test HTTP/1.1\r\n${HOST}\r\n`,
    seen: ["GET / "],
  },
  {
    section: "9112 §3.2.4",
    what: "OPTIONS *",
    text: `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`,
    seen: ["OPTIONS * "],
  },
  {
    section: "9110 §4.2.3",
    what: "a Host in capitals with a port",
    text: "GET / HTTP/1.1\r\nHost: APP.Example.TEST:443\r\n\r\n",
    seen: ["GET / "],
  },
  {
    section: "9112 §5",
    what: "field names in any case, values with no, much and odd white space",
    text: "GET / HTTP/1.1\r\nhOST:app.example.test\r\nA:\r\nB: \t \r\nC: \t c \t\r\n\r\n",
    seen: ["GET / "],
  },
  {
    section: "9110 §5.5",
    what: "a value with a tab within and bytes beyond ASCII",
    text: `GET / HTTP/1.1\r\n${HOST}A: b\tc \xe9\xff\r\n\r\n`,
    seen: ["GET / "],
  },
  {
    section: "9110 §5.6.2",
    what: "a name of every token character",
    text: `GET / HTTP/1.1\r\n${HOST}!#$%&'*+-.^_\`|~09AZaz: b\r\n\r\n`,
    seen: ["GET / "],
  },
  {
    section: "9110 §9.1",
    what: "methods that servers rarely see",
    text: ["PROPFIND", "REPORT", "PURGE", "M-SEARCH", "LINK"]
      .map((method) => `${method} / HTTP/1.1\r\n${HOST}\r\n`)
      .join(""),
    seen: ["PROPFIND / ", "REPORT / ", "PURGE / ", "M-SEARCH / ", "LINK / "],
  },
  {
    section: "9110 §9.3.2",
    what: "HEAD, whose answer has no body, before another request",
    text: `HEAD / HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`,
    seen: [""],
    closes: true,
    head: true,
  },
  {
    section: "9112 §6.2",
    what: "a Content-Length",
    text: `POST / HTTP/1.1\r\n${HOST}Content-Length: 5\r\n\r\nhello`,
    seen: ["POST / hello"],
  },
  {
    section: "9112 §6.2",
    what: "a Content-Length of zero, and one with leading zeros",
    text: `POST /a HTTP/1.1\r\n${HOST}Content-Length: 0\r\n\r\nPOST /b HTTP/1.1\r\n${HOST}Content-Length: 0005\r\n\r\nhello`,
    seen: ["POST /a ", "POST /b hello"],
  },
  {
    section: "9112 §6.3",
    what: "a POST that says nothing of a body has none",
    text: `POST / HTTP/1.1\r\n${HOST}\r\n${GET}`,
    seen: ["POST / ", "GET / "],
  },
  {
    section: "9110 §9.3.1",
    what: "a GET and a DELETE with bodies",
    text: `GET /a HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nabDELETE /b HTTP/1.1\r\n${HOST}${CHUNKED}\r\n2\r\ncd\r\n0\r\n\r\n`,
    seen: ["GET /a ab", "DELETE /b cd"],
  },
  {
    section: "9112 §7.1",
    what: "chunks",
    text: `POST / HTTP/1.1\r\n${HOST}${CHUNKED}\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n`,
    seen: ["POST / hello world"],
  },
  {
    section: "9112 §7.1",
    what: "chunk sizes in both cases, with leading zeros, and no chunk at all",
    text: `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding: CHUNKED\r\n\r\na\r\n0123456789\r\nB\r\n0123456789a\r\n0003\r\nxyz\r\n000\r\n\r\nPOST /b HTTP/1.1\r\n${HOST}${CHUNKED}\r\n0\r\n\r\n`,
    seen: ["POST /a 01234567890123456789axyz", "POST /b "],
  },
  {
    section: "9112 §7.1.1",
    what: "chunk extensions, quoted and not",
    text: `POST / HTTP/1.1\r\n${HOST}${CHUNKED}\r\n5;a;b=c;d="e;f"\r\nhello\r\n0;last\r\n\r\n`,
    seen: ["POST / hello"],
  },
  {
    section: "9112 §7.1.2",
    what: "trailers",
    text: `POST / HTTP/1.1\r\n${HOST}${CHUNKED}Trailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nEmpty:\r\n\r\n`,
    seen: ["POST / hello"],
  },
  {
    section: "9112 §7.1",
    what: "a chunk that looks like a request",
    text: `POST / HTTP/1.1\r\n${HOST}${CHUNKED}\r\n${GET.length.toString(16)}\r\n${GET}\r\n0\r\n\r\n`,
    seen: [`POST / ${GET}`],
  },
  {
    section: "9112 §9.3.2",
    what: "pipelined requests, answered in order",
    text: `GET /1 HTTP/1.1\r\n${HOST}\r\nPOST /2 HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nabPOST /3 HTTP/1.1\r\n${HOST}${CHUNKED}\r\n1\r\nc\r\n0\r\n\r\nGET /4 HTTP/1.1\r\n${HOST}\r\n`,
    seen: ["GET /1 ", "POST /2 ab", "POST /3 c", "GET /4 "],
  },
  {
    section: "9112 §9.6",
    what: "Connection: close, after which nothing is answered",
    text: `GET / HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n${GET}`,
    seen: ["GET / "],
    closes: true,
  },
  {
    section: "9112 §9.3",
    what: "Connection with several options, close among them",
    text: `GET / HTTP/1.1\r\n${HOST}Connection: a, Close ,b\r\n\r\n`,
    seen: ["GET / "],
    closes: true,
  },
  {
    section: "9110 §7.6.1",
    what: "a field that Connection names goes no further, Host and framing do",
    text: `POST / HTTP/1.1\r\n${HOST}Connection: x-secret, host, content-length\r\nX-Secret: 1\r\nContent-Length: 2\r\n\r\nab`,
    seen: ["POST / ab"],
  },
  {
    section: "9110 §7.8",
    what: "an upgrade to something nobody knows is ignored",
    text: `GET / HTTP/1.1\r\n${HOST}Connection: upgrade\r\nUpgrade: teleport/3\r\n\r\n`,
    seen: ["GET / "],
  },
  {
    section: "9110 §10.1.1",
    what: "an expectation with its body sent at once",
    text: `POST / HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello`,
    seen: ["POST / hello"],
  },
  {
    section: "9112 §6.3",
    what: "equal bytes again, as on a kept-alive connection",
    text: GET.repeat(5),
    seen: Array.from({ length: 5 }, () => "GET / "),
  },
];

const post = (fields: string, body = ""): string => `POST / HTTP/1.1\r\n${HOST}${fields}\r\n${body}`;
const chunks = (body: string): string => post(CHUNKED, body);
const get = (fields: string): string => `GET / HTTP/1.1\r\n${HOST}${fields}\r\n`;
const refused = (section: string, what: string, text: string, status = 400): Refused => ({
  section,
  what,
  text,
  status,
});

export const REFUSED: readonly Refused[] = [
  // The request line.
  refused("9112 §3", "a request line that is none", "hello\r\n\r\n", 501),
  refused("9112 §3", "an empty method", ` / HTTP/1.1\r\n${HOST}\r\n`),
  refused("9112 §3", "a lower-case method", `get / HTTP/1.1\r\n${HOST}\r\n`, 501),
  refused("9110 §9.1", "a method that nobody knows", `BREW / HTTP/1.1\r\n${HOST}\r\n`, 501),
  refused("9110 §9.1", "a known method with more behind it", `GETS / HTTP/1.1\r\n${HOST}\r\n`, 501),
  refused("9110 §9.1", "a method with a delimiter", `GE(T / HTTP/1.1\r\n${HOST}\r\n`),
  refused("9112 §3", "two spaces", `GET  / HTTP/1.1\r\n${HOST}\r\n`),
  refused("9112 §3", "a tab for a space", `GET\t/ HTTP/1.1\r\n${HOST}\r\n`),
  refused("9112 §3", "a space behind the version", `GET / HTTP/1.1 \r\n${HOST}\r\n`),
  refused("9112 §3", "words behind the version", `GET / HTTP/1.1 x\r\n${HOST}\r\n`),
  refused("9112 §2.3", "no version", "GET /\r\n\r\n"),
  refused("9112 §2.3", "HTTP/0.9", "GET / HTTP/0.9\r\n\r\n", 505),
  refused("9112 §2.3", "HTTP/2.0", `GET / HTTP/2.0\r\n${HOST}\r\n`, 505),
  refused("9112 §2.3", "HTTP/3.7", `GET / HTTP/3.7\r\n${HOST}\r\n`, 505),
  refused("9112 §2.3", "a version of two digits", `GET / HTTP/1.10\r\n${HOST}\r\n`),
  refused("9112 §2.3", "a lower-case version", `GET / http/1.1\r\n${HOST}\r\n`),
  refused("9112 §2.3", "another protocol", `GET / HTPP/1.1\r\n${HOST}\r\n`),
  refused("9113 §3.4", "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
  refused("9112 §3.2", "a target that begins with no slash", `GET a HTTP/1.1\r\n${HOST}\r\n`),
  refused("9112 §3.2.4", "* for another method than OPTIONS", `GET * HTTP/1.1\r\n${HOST}\r\n`),
  refused("9112 §3.2", "a fragment", `GET /a#b HTTP/1.1\r\n${HOST}\r\n`),
  refused("9112 §3.2", "bytes beyond ASCII in the target", `GET /\xc3\xa9 HTTP/1.1\r\n${HOST}\r\n`),
  refused("9112 §3.2", "a control byte in the target", `GET /\x01 HTTP/1.1\r\n${HOST}\r\n`),
  refused("9112 §3.2", "NUL in the target", `GET /\0 HTTP/1.1\r\n${HOST}\r\n`),
  refused(
    "9112 §3.2.2",
    "an absolute target of another scheme",
    `GET ftp://app.example.test/ HTTP/1.1\r\n${HOST}\r\n`,
  ),
  refused(
    "9110 §4.2.4",
    "an absolute target with userinfo",
    `GET http://u@app.example.test/ HTTP/1.1\r\n${HOST}\r\n`,
  ),
  refused("9112 §3.2.2", "an absolute target without a host", `GET http:///x HTTP/1.1\r\n${HOST}\r\n`),
  refused(
    "9112 §3.2.2",
    "an absolute target with a bad port",
    `GET http://app.example.test:x/ HTTP/1.1\r\n${HOST}\r\n`,
  ),
  refused(
    "9112 §3.2.3",
    "CONNECT",
    "CONNECT app.example.test:443 HTTP/1.1\r\nHost: app.example.test:443\r\n\r\n",
  ),
  // Host.
  refused("9112 §3.2", "no Host", "GET / HTTP/1.1\r\n\r\n"),
  refused("9112 §3.2", "no Host among other fields", "GET / HTTP/1.1\r\nA: b\r\nHostt: a\r\n\r\n"),
  refused("9112 §3.2", "two Hosts", get("Host: other.example.test\r\n")),
  refused("9112 §3.2", "the same Host twice", get(HOST)),
  refused("9112 §3.2", "an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
  refused("9112 §3.2", "a Host with a path", "GET / HTTP/1.1\r\nHost: app.example.test/x\r\n\r\n"),
  refused("9112 §3.2", "a Host with userinfo", "GET / HTTP/1.1\r\nHost: a@app.example.test\r\n\r\n"),
  refused("9112 §3.2", "a Host with a space", "GET / HTTP/1.1\r\nHost: app.example.test x\r\n\r\n"),
  refused("9112 §3.2", "a list of Hosts", "GET / HTTP/1.1\r\nHost: app.example.test, b.test\r\n\r\n"),
  refused("9112 §3.2", "a Host with a bad port", "GET / HTTP/1.1\r\nHost: app.example.test:8o\r\n\r\n"),
  refused(
    "9112 §3.2",
    "a bad Host beside an absolute target",
    "GET https://app.example.test/ HTTP/1.1\r\nHost: a b\r\n\r\n",
  ),
  // Lines and fields.
  refused("9112 §2.2", "a bare LF behind the request line", `GET / HTTP/1.1\n${HOST}\r\n`),
  refused("9112 §2.2", "a bare LF behind a field", "GET / HTTP/1.1\r\nHost: app.example.test\n\r\n"),
  refused("9112 §2.2", "a bare LF for the empty line", `GET / HTTP/1.1\r\n${HOST}\n`),
  refused("9112 §2.2", "LF alone throughout", "GET / HTTP/1.1\nHost: app.example.test\n\n"),
  refused("9112 §2.2", "a bare CR in the request line", `GET /\r HTTP/1.1\r\n${HOST}\r\n`),
  refused("9112 §2.2", "a bare CR in a value", get("A: b\rc\r\n")),
  refused("9112 §2.2", "CR alone throughout", "GET / HTTP/1.1\rHost: app.example.test\r\r"),
  refused("9112 §2.2", "two CRs before a LF", `GET / HTTP/1.1\r\r\n${HOST}\r\n`),
  refused("9112 §2.2", "white space before the first field", `GET / HTTP/1.1\r\n ${HOST}\r\n`),
  refused("9112 §2.2", "white space before the request line", ` ${GET}`),
  refused("9112 §5.1", "a space before the colon", "GET / HTTP/1.1\r\nHost : app.example.test\r\n\r\n"),
  refused("9112 §5.1", "a tab before the colon", get("A\t: b\r\n")),
  refused("9112 §5.1", "a field without a colon", get("Nonsense\r\n")),
  refused("9112 §5.1", "a field without a name", get(": b\r\n")),
  refused("9110 §5.6.2", "a name with a space", get("A B: c\r\n")),
  refused("9110 §5.6.2", "a name with a delimiter", get("A(B): c\r\n")),
  refused("9110 §5.6.2", "a name beyond ASCII", get("\xc4: c\r\n")),
  refused("9110 §5.6.2", "a name with NUL", get("A\0: c\r\n")),
  refused("9112 §5.2", "a folded value", get("A: b\r\n c\r\n")),
  refused("9112 §5.2", "a value folded by a tab", get("A: b\r\n\tc\r\n")),
  refused("9112 §5.2", "a folded Transfer-Encoding", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n")),
  refused("9110 §5.5", "NUL in a value", get("A: b\0c\r\n")),
  refused("9110 §5.5", "a control byte in a value", get("A: b\x08c\r\n")),
  refused("9110 §5.5", "DEL in a value", get("A: b\x7fc\r\n")),
  refused("6585 §5", "more fields than the limit", get("A: b\r\n".repeat(101)), 431),
  refused("6585 §5", "a head beyond the limit", get(`A: ${"b".repeat(17_000)}\r\n`), 431),
  refused(
    "9110 §15.5.15",
    "a target beyond the limit",
    `GET /${"a".repeat(17_000)} HTTP/1.1\r\n${HOST}\r\n`,
    414,
  ),
  // Framing.
  refused(
    "9112 §6.1",
    "Transfer-Encoding beside Content-Length",
    post(`${CHUNKED}Content-Length: 5\r\n`, "0\r\n\r\n"),
  ),
  refused(
    "9112 §6.1",
    "Content-Length beside Transfer-Encoding",
    post(`Content-Length: 5\r\n${CHUNKED}`, "0\r\n\r\n"),
  ),
  refused("9112 §6.1", "Transfer-Encoding in HTTP/1.0", `POST / HTTP/1.0\r\n${HOST}${CHUNKED}\r\n0\r\n\r\n`),
  refused("9112 §6.1", "a coding that nobody knows", post("Transfer-Encoding: cow\r\n")),
  refused("9112 §6.1", "identity", post("Transfer-Encoding: identity\r\n")),
  refused("9112 §6.3", "chunked that is not last", post("Transfer-Encoding: chunked, gzip\r\n")),
  refused(
    "9112 §6.1",
    "gzip before chunked, which is not taken off here",
    post("Transfer-Encoding: gzip, chunked\r\n"),
  ),
  refused("9112 §6.1", "chunked twice, in one field", post("Transfer-Encoding: chunked, chunked\r\n")),
  refused("9112 §6.1", "chunked twice, in two fields", post(CHUNKED + CHUNKED)),
  refused("9112 §6.1", "quoted chunked", post('Transfer-Encoding: "chunked"\r\n')),
  refused("9112 §6.1", "chunked behind a vertical tab", post("Transfer-Encoding:\x0bchunked\r\n")),
  refused("9112 §6.1", "an empty Transfer-Encoding", post("Transfer-Encoding: \r\n")),
  refused("9112 §6.3", "two Content-Lengths", post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!")),
  refused(
    "9112 §6.3",
    "the same Content-Length twice",
    post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
  ),
  refused("9112 §6.3", "a list of Content-Lengths", post("Content-Length: 5, 5\r\n", "hello")),
  refused("9110 §8.6", "a negative Content-Length", post("Content-Length: -1\r\n")),
  refused("9110 §8.6", "a signed Content-Length", post("Content-Length: +5\r\n", "hello")),
  refused("9110 §8.6", "a Content-Length of letters", post("Content-Length: abc\r\n")),
  refused("9110 §8.6", "a Content-Length with a fraction", post("Content-Length: 5.0\r\n", "hello")),
  refused("9110 §8.6", "a hexadecimal Content-Length", post("Content-Length: 0x5\r\n", "hello")),
  refused("9110 §8.6", "an empty Content-Length", post("Content-Length:\r\n")),
  refused("9110 §8.6", "a Content-Length with a space within", post("Content-Length: 1 2\r\n", "hello")),
  refused(
    "9110 §8.6",
    "a Content-Length beyond 2^64",
    post("Content-Length: 18446744073709551621\r\n", "hello"),
  ),
  refused("9112 §7.1", "a chunk size that is none", chunks("x\r\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1", "an empty chunk size", chunks("\r\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1", "a negative chunk size", chunks("-5\r\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1", "a chunk size with 0x", chunks("0x5\r\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1", "a chunk size with an underscore", chunks("0_5\r\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1", "a chunk size beyond 2^64", chunks("fffffffffffffffff\r\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1", "a chunk that is longer than its size", chunks("3\r\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1", "a chunk that is shorter than its size", chunks("7\r\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1", "a bare LF behind a chunk size", chunks("5\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1", "a bare LF behind a chunk", chunks("5\r\nhello\n0\r\n\r\n")),
  refused("9112 §7.1.1", "a space before a chunk extension's line end", chunks("5 \r\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1.1", "a bare LF in a chunk extension", chunks("5;a\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1.1", "a bare CR in a chunk extension", chunks("5;a\rb\r\nhello\r\n0\r\n\r\n")),
  refused("9112 §7.1.2", "a trailer without a colon", chunks("0\r\nnonsense\r\n\r\n")),
  refused("9112 §7.1.2", "a folded trailer", chunks("0\r\nA: b\r\n c\r\n\r\n")),
  // Behind a good request.
  { ...refused("9112 §9.3.2", "bytes behind a request that are none", `${GET}\x16\x03\x01`), before: 1 },
  {
    ...refused(
      "9112 §6.3",
      "a body longer than its Content-Length",
      post("Content-Length: 3\r\n", "hello\r\n\r\n"),
      501,
    ),
    before: 1,
  },
];

/** Heads and bodies that a client's FIN cuts short. */
export const CUT: readonly Refused[] = [
  refused("9112 §8", "a method cut short", "GE"),
  refused("9112 §8", "a request line cut short", "GET / HT"),
  refused("9112 §8", "a head without its empty line", `GET / HTTP/1.1\r\n${HOST}`),
  refused("9112 §8", "a body shorter than its Content-Length", post("Content-Length: 10\r\n", "hello")),
  refused("9112 §8", "a body without its last chunk", chunks("5\r\nhello\r\n")),
  refused("9112 §8", "a last chunk without its empty line", chunks("5\r\nhello\r\n0\r\n")),
  refused("9112 §8", "a chunk cut short", chunks("5\r\nhel")),
];
