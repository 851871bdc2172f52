/** The bounds of a downstream connection. Every one has a name in the config (`limits.…`) and a metric when it strikes. */

export interface Limits {
  /** Request line and headers together, in bytes; beyond it 431 (414 for the request line alone). @default 16_384 */
  readonly maxHeadBytes: number;
  /** Header fields of a request; beyond it 431. @default 100 */
  readonly maxHeaders: number;
  /** From the first byte of a head (or from connecting) to its last; then 408. @default 10_000 */
  readonly headTimeoutMs: number;
  /** How long a kept-alive connection may wait between requests. @default 65_000 */
  readonly idleTimeoutMs: number;
  /** The least average rate of a request body, measured after `bodyGraceMs`; slower gets 408. 0 turns it off. @default 240 */
  readonly minBodyBytesPerSecond: number;
  /** How long a request body may take before its rate counts. @default 10_000 */
  readonly bodyGraceMs: number;
  /** How long a client may take no byte of an answer that waits for it; then the connection is reset. @default 60_000 */
  readonly writeTimeoutMs: number;
  /** Open connections of one client address (of one /64 in IPv6); more are closed at once. @default 4_096 */
  readonly maxConnectionsPerClient: number;
  /** Requests on one connection, which then closes politely. @default 100_000 */
  readonly maxRequestsPerConnection: number;
  /** Bytes held for a slow reader, per direction of one exchange, before the sender is paused. @default 65_536 */
  readonly maxBufferedBytes: number;
  /** Bytes of an unread request body that are read and thrown away after an early answer, before closing. @default 262_144 */
  readonly maxDrainBytes: number;
  readonly http2: Http2Limits;
}

export interface Http2Limits {
  /** Concurrent streams of one connection. @default 128 */
  readonly maxStreams: number;
  /** Streams reset or refused, by either side's doing, in one second (CVE-2023-44487). @default 200 */
  readonly maxResetsPerSecond: number;
  /** CONTINUATION frames of one header block. @default 16 */
  readonly maxContinuations: number;
  /** PING frames in one second. @default 50 */
  readonly maxPingsPerSecond: number;
  /** SETTINGS frames in one second. @default 20 */
  readonly maxSettingsPerSecond: number;
  /** DATA or HEADERS frames without content, PRIORITY and unknown frames, in one second. @default 200 */
  readonly maxEmptyFramesPerSecond: number;
  /** WINDOW_UPDATE frames in one second beyond those that our DATA called for. @default 2_000 */
  readonly maxWindowUpdatesPerSecond: number;
  /** HPACK dynamic table that we let a peer use, and use ourselves, in bytes. @default 4_096 */
  readonly headerTableBytes: number;
  /** First receive window of a stream, in bytes; grows to `maxStreamWindowBytes`. @default 262_144 */
  readonly streamWindowBytes: number;
  /** @default 67_108_864 */
  readonly maxStreamWindowBytes: number;
  /** First receive window of a connection; grows to `maxConnectionWindowBytes`. @default 4_194_304 */
  readonly connectionWindowBytes: number;
  /** @default 67_108_864 */
  readonly maxConnectionWindowBytes: number;
}

export const DEFAULT_LIMITS: Limits = Object.freeze({
  maxHeadBytes: 16_384,
  maxHeaders: 100,
  headTimeoutMs: 10_000,
  idleTimeoutMs: 65_000,
  minBodyBytesPerSecond: 240,
  bodyGraceMs: 10_000,
  writeTimeoutMs: 60_000,
  maxConnectionsPerClient: 4096,
  maxRequestsPerConnection: 100_000,
  maxBufferedBytes: 65_536,
  maxDrainBytes: 262_144,
  http2: Object.freeze({
    maxStreams: 128,
    maxResetsPerSecond: 200,
    maxContinuations: 16,
    maxPingsPerSecond: 50,
    maxSettingsPerSecond: 20,
    maxEmptyFramesPerSecond: 200,
    maxWindowUpdatesPerSecond: 2000,
    headerTableBytes: 4096,
    streamWindowBytes: 262_144,
    maxStreamWindowBytes: 67_108_864,
    connectionWindowBytes: 4_194_304,
    maxConnectionWindowBytes: 67_108_864,
  }),
});

/** Why a connection or request was cut off; the `reason` label of `skerry_limits_exceeded_total`. */
export type Offence =
  | "head_bytes"
  | "head_count"
  | "head_timeout"
  | "idle_timeout"
  | "body_rate"
  | "write_timeout"
  | "connections_per_client"
  | "malformed"
  | "h2_resets"
  | "h2_continuations"
  | "h2_pings"
  | "h2_settings"
  | "h2_empty_frames"
  | "h2_window_updates"
  | "h2_protocol";
