/** Names of things in storage. */

/** `certificates/app.example.com`, with "*" as "_", which no host name has. */
export function hostKey(folder: string, host: string): string {
  return `${folder}/${host.replaceAll("*", "_")}`;
}

/** The host of a key that {@link hostKey} made. */
export function hostOfKey(key: string): string {
  return key.slice(key.indexOf("/") + 1).replaceAll("_", "*");
}
