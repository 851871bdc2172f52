/** Prints the serial number of the certificate in the file that is named: `serial-script.ts FILE`. */
import { readFileSync } from "node:fs";
import { certificateFacts } from "../../src/tls/certificate.ts";

console.log(certificateFacts(readFileSync(process.argv[2] ?? "", "utf8"), "the file").serial);
