#!/usr/bin/env node
/** The executable `postern`: runs the command line and leaves with its exit code. */
import { runProgram } from "./program.ts";

// whoever reads our output may stop reading, as `head` does
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

process.exitCode = await runProgram(process.argv.slice(2));
