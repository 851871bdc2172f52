/** Flags that several commands share. */
import { type Command, InvalidArgumentError } from "commander";
import { parseAddress, parseStorage } from "../config/parse.ts";

export const LISTEN_FIELDS = ["http", "https", "admin"] as const;

/** As written: `host:port`. */
export interface ListenFlags {
  http?: string;
  https?: string;
  admin?: string;
}

function address(text: string): string {
  const parsed = parseAddress(text);
  if ("problem" in parsed) throw new InvalidArgumentError(`${parsed.problem}.`);
  return text;
}

/** A folder may come without `file:`, as a shell completes it. */
export function storageFlag(text: string): string {
  const place = /^[a-z]+:/.test(text) ? text : `file:${text}`;
  const parsed = parseStorage(place);
  if ("problem" in parsed) throw new InvalidArgumentError(`${parsed.problem}.`);
  return parsed.value;
}

/** Adds --config. */
export function configFlag(command: Command): Command {
  return command.option(
    "-c, --config <file>",
    "config file (default: skerry.config.ts, .js or .json in this folder)",
  );
}

/** Where edges store: what their config says, or a flag. */
export interface PlaceOptions {
  config?: string;
  storage?: string;
}

/** Adds --config and --storage. */
export function placeFlags(command: Command): Command {
  return configFlag(command).option(
    "--storage <folder>",
    "the edges' storage, in place of the config's; for skerry dev: certs/dev",
    storageFlag,
  );
}

/** Adds --http, --https and --admin. */
export function listenFlags(
  command: Command,
  defaults: ListenFlags = { http: "[::]:80", https: "[::]:443", admin: "127.0.0.1:9180" },
): Command {
  return command
    .option("--http <address>", `where to listen for HTTP (default: "${defaults.http}")`, address)
    .option("--https <address>", `where to listen for HTTPS (default: "${defaults.https}")`, address)
    .option(
      "--admin <address>",
      `where to listen for health and metrics (default: "${defaults.admin}")`,
      address,
    );
}
