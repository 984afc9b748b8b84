/** Before all tests: those that run the built program find it built. */
import { existsSync } from "node:fs";

export default function setup(): void {
  if (!existsSync(new URL("../dist/cli/main.js", import.meta.url))) {
    throw new Error("run `npm run build` first: some tests start the built program");
  }
}
