/** Hashes of short texts: well mixed and the same on every runtime, and nothing that secrets could rely on. */

/** 32 bits: FNV-1a over the UTF-16 units, then the finaliser of MurmurHash3, which makes every bit count. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
