import { defineConfig, type ViteUserConfig } from "vitest/config";

const report = process.env.SKERRY_TEST_REPORT;

const config: ViteUserConfig = defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/global-setup.ts"],
    // Two cores: suites that start servers of their own must not starve each other.
    maxWorkers: 2,
    // CI counts the tests from this report.
    reporters: report ? ["default", ["json", { outputFile: report }]] : ["default"],
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});

export default config;
