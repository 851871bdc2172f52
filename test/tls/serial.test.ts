/** Operators compare serial numbers with what openssl and the CA say: every runtime gives all of their digits. */
import { expect, test } from "vitest";
import { command, configFile, type Runtime } from "../support/edge.ts";
import { run } from "../support/processes.ts";

const ZERO_FIRST = `-----BEGIN CERTIFICATE-----
MIIBpjCCAU2gAwIBAgIIBTWuUjbuFfMwCgYIKoZIzj0EAwIwHjEcMBoGA1UEAwwT
c2VyaWFsLmV4YW1wbGUudGVzdDAgFw0yNjExMjMyMzE0MjJaGA8yMTI2MTAzMDIz
MTQyMlowHjEcMBoGA1UEAwwTc2VyaWFsLmV4YW1wbGUudGVzdDBZMBMGByqGSM49
AgEGCCqGSM49AwEHA0IABIT0wncPxOoygM4KzXpNqColcsXtcMll8+NXPvQQEWP6
4vvA8vX0K3sZnHdMK3qj+9fa/7JBb1FrzBNjOyBDwZajczBxMB0GA1UdDgQWBBT/
4sdXRf4ZbuNlqMG0kWZ9mAvJ4zAfBgNVHSMEGDAWgBT/4sdXRf4ZbuNlqMG0kWZ9
mAvJ4zAPBgNVHRMBAf8EBTADAQH/MB4GA1UdEQQXMBWCE3NlcmlhbC5leGFtcGxl
LnRlc3QwCgYIKoZIzj0EAwIDRwAwRAIgRfBLujF2ozA5fEoPBZsPRPPIhk540ber
9RgZy7QvHPsCIGSMoAwUBAWoTb0+FAhDmgA43DlE/X+REo4EWv7co+YN
-----END CERTIFICATE-----
`;

test.each<Runtime>(["node", "bun", "deno"])(
  "on %s a serial number keeps the zero it begins with",
  async (runtime) => {
    const [program, ...args] = command(runtime, "test/tls/serial-script.ts");
    const { code, stdout, output } = await run(program, [...args, configFile(ZERO_FIRST, "zero.pem")]);
    expect([code, stdout], output).toEqual([0, "0535ae5236ee15f3\n"]);
  },
);
