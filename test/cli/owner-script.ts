/** Acts as the owner of the storage that it is told, and prints who it is then: user, group and further groups. */
import process from "node:process";
import { actAsOwner } from "../../src/cli/owner.ts";

await actAsOwner(process.argv[2] ?? "");
const { getuid, getgid, getgroups } = process;
// A group may be listed among the further ones as well.
const further = (getgroups?.() ?? []).filter((group) => group !== getgid?.());
process.stdout.write(`${JSON.stringify([getuid?.(), getgid?.(), further])}\n`);
