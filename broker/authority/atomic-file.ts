/**
 * Writes a file so that a reader, or a crash, sees the old content or the new and never half of it.
 */
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";

/** Writes beside the file with the mode it is to have, flushes, and renames over it. */
export function writeFileAtomically(file: string, content: string, mode: number): void {
  const beside = `${file}.${String(process.pid)}.new`;
  try {
    rmSync(beside, { force: true });
    const descriptor = openSync(beside, "wx", mode);
    try {
      writeFileSync(descriptor, content);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(beside, file);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}
