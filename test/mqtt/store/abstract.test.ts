/** The abstract suite of Aedes' persistences, against the durable store on a file. */
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { durableStore } from "../../../broker/mqtt/store/durable-store.ts";
import { nodeTest } from "../node-test.ts";

type Suite = (options: { test: typeof nodeTest; testAsync: true; persistence: () => object }) => void;
const abstractSuite = createRequire(import.meta.url)("aedes-persistence/abstract.js") as Suite;

const directory = mkdtempSync(join(tmpdir(), "postern-store-"));
afterAll(() => rmSync(directory, { recursive: true }));

let count = 0;
abstractSuite({
  test: nodeTest,
  testAsync: true,
  persistence: () => durableStore({ file: join(directory, `${++count}.db`) }),
});
