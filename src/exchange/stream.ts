/** Reads without keeping. */
export interface Borrower {
  /** Whether it takes what comes next on loan. */
  readonly borrows: boolean;
  /** Bytes came; their memory is the stream's again when this returns. */
  borrow(chunk: Buffer): void;
}

/**
 * The byte stream that both wire engines stand on: the part of Node's `Duplex` that they use, so that a TCP socket,
 * a TLS socket and a tunnel's stream all fit as they are.
 */
export interface ByteStream {
  /**
   * While nothing waits to be read and `borrower` borrows, it is lent what comes, and "data" does not hear of it. Undefined
   * ends that. Absent from streams that have nothing to save by it.
   */
  lend?(borrower: Borrower | undefined): void;
  /** Returns false when the caller must wait for "drain". */
  write(chunk: Uint8Array | string, encoding?: "latin1"): boolean;
  /** Sends what was written, then FIN. */
  end(): void;
  /** Closes at once. With an error, or with unsent bytes, the peer may see a reset. */
  destroy(error?: Error): void;
  pause(): unknown;
  resume(): unknown;
  cork(): void;
  uncork(): void;
  readonly destroyed: boolean;
  readonly writableLength: number;
  readonly writableNeedDrain: boolean;
  on(event: "data", listener: (chunk: Buffer) => void): unknown;
  on(event: "end" | "drain" | "close", listener: () => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  // biome-ignore lint/suspicious/noExplicitAny: listeners of all events, whatever each is told
  removeListener(event: string, listener: (...args: any[]) => void): unknown;
  removeAllListeners(event?: string): unknown;
  unshift(chunk: Uint8Array): unknown;
}
