/** The bounds of HTTP/2 inside a tunnel, at both ends. */
import { DEFAULT_LIMITS, type Limits } from "../exchange/limits.ts";

/** For long fat pipes: a 100 ms path carries 80 MB/s in one stream and more in several. */
export const TUNNEL_LIMITS: Limits = {
  ...DEFAULT_LIMITS,
  // Streams of a tunnel are connections; their bounds in time are those of who uses them.
  maxRequestsPerConnection: Number.POSITIVE_INFINITY,
  minBodyBytesPerSecond: 0,
  maxBufferedBytes: 262_144,
  http2: {
    ...DEFAULT_LIMITS.http2,
    maxStreams: 1024,
    streamWindowBytes: 1_048_576,
    maxStreamWindowBytes: 8_388_608,
    connectionWindowBytes: 4_194_304,
    maxConnectionWindowBytes: 33_554_432,
  },
};
