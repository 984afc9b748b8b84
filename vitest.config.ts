import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/setup.ts"],
    reporters: ["default", "./test/closing-line.ts"],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    // two cores: more workers only make the timing-sensitive tests wait for each other
    maxWorkers: 2,
  },
});
