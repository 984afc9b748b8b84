import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["test/setup.ts"],
    reporters: ["default", "./test/closing-line.ts"],
    // bounds on what hangs: how long something takes is up to the machine
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 20_000 } },
    // two cores: more workers only make the timing-sensitive tests wait for each other
    maxWorkers: 2,
  },
});
