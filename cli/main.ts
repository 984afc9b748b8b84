#!/usr/bin/env node
/** The executable `postern`: runs the command line and leaves with its exit code. */
import { getDefaultAutoSelectFamilyAttemptTimeout, setDefaultAutoSelectFamilyAttemptTimeout } from "node:net";
import { runProgram } from "./program.ts";

// over a mobile network each address of a name may need more than the quarter of a second that Node gives it
setDefaultAutoSelectFamilyAttemptTimeout(Math.max(2_500, getDefaultAutoSelectFamilyAttemptTimeout()));

// whoever reads our output may stop reading, as `head` does
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // with the exit code that the command has come to by then
  if (error.code === "EPIPE") process.exit();
  process.stderr.write(`postern: stdout cannot be written (${error.code ?? "unknown error"})\n`);
  process.exit(1);
});
// whoever does not read our errors has the exit code
process.stderr.on("error", () => undefined);

process.exitCode = await runProgram(process.argv.slice(2));
