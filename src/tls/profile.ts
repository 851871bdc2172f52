/** How TLS is spoken: Mozilla's server side recommendations, version 5.7, as far as each runtime lets itself be told. */
import { constants } from "node:crypto";

export type TlsProfile = "intermediate" | "modern";

export interface ProtocolOptions {
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
  readonly ciphers: string;
  /** In the order of preference. */
  readonly ecdhCurve: string;
  readonly honorCipherOrder: boolean;
  readonly secureOptions: number;
}

/** All good: forward secret and authenticated. */
const TLS_1_3 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];
const TLS_1_2 = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
];

export function protocolOptions(profile: TlsProfile): ProtocolOptions {
  const common = {
    honorCipherOrder: true,
    // But ChaCha20 where the client has it first: then it has no AES in hardware.
    secureOptions: constants.SSL_OP_PRIORITIZE_CHACHA ?? 0,
    ecdhCurve: "X25519:prime256v1:secp384r1",
  };
  switch (profile) {
    case "intermediate":
      return { ...common, minVersion: "TLSv1.2", ciphers: [...TLS_1_3, ...TLS_1_2].join(":") };
    case "modern":
      return { ...common, minVersion: "TLSv1.3", ciphers: TLS_1_3.join(":") };
    default:
      return profile satisfies never;
  }
}
