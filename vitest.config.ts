import { defineConfig } from "vitest/config";

// where a name has two addresses, Node gives the first a quarter of a second, of this process standing still as well
const patience = "--network-family-autoselection-attempt-timeout=20000";

export default defineConfig({
  test: {
    execArgv: [patience],
    // for the programs that tests start
    env: { NODE_OPTIONS: patience },
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
