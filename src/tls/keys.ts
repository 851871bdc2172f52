/** Names of things in storage. */

/** `certificates/app.example.com`, with "*" as "_", which no host name has. */
export function hostKey(folder: string, host: string): string {
  return `${folder}/${host.replaceAll("*", "_")}`;
}
