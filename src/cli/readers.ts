/** Who reads what a program prints may leave before it: `| head`, a terminal that is closed, a collector that restarts. */

/** A pipe without a reader; a terminal that is gone. */
const GONE: ReadonlySet<unknown> = new Set(["EPIPE", "EIO", "ERR_STREAM_DESTROYED"]);

/**
 * From here on a reader that leaves ends nothing. Unheard, each write's error would be an exception, whose report is a write
 * again: an edge that does nothing else any more. Anything else, as a full disk, is told, and the exit code is 1.
 */
export function outliveReaders(): void {
  let told = false;
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (GONE.has(error.code) || told) return;
      told = true;
      process.exitCode = 1;
      process.stderr.write(`cannot print: ${error.message}\n`);
    });
}
