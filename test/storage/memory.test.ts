import { createMemoryStorage } from "../../src/storage/memory.ts";
import { storageContract } from "./contract.ts";

storageContract("memory", async () => ({ open: async () => createMemoryStorage(), close: async () => {} }), {
  shared: false,
});
