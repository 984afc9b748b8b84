/**
 * A folder of what only one program may read: 0700, every file in it 0600. A file is written whole under another name,
 * synced and renamed, so that a power cut leaves the old one or the new one.
 */
import { randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { AgentFailure } from "./failure.ts";

/**
 * Makes the folder, 0700, and what leads to it. One that is there already keeps its mode: the files in it are 0600 in any
 * case. Not node's own recursive way, which does not end on a file system that lets nothing be made.
 */
export function openDir(dir: string): void {
  if (existsSync(dir)) return;
  openDir(dirname(resolve(dir)));
  mkdirSync(dir, { mode: 0o700 });
}

/** What the file holds, or undefined where there is none. */
export function readText(dir: string, name: string): string | undefined {
  try {
    return readFileSync(join(dir, name), "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new AgentFailure("not-enrolled", `${join(dir, name)} cannot be read (${code ?? "unknown error"})`);
  }
}

/** The value, or undefined for what is no JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Writes a sibling, syncs it, renames it over the name and syncs the folder. */
export function writeAtomically(dir: string, name: string, text: string): void {
  openDir(dir);
  const target = join(dir, name);
  const draft = `${target}.${randomBytes(6).toString("hex")}`;
  try {
    withFile(draft, "wx", (file) => {
      writeFileSync(file, text);
      fsyncSync(file);
    });
    renameSync(draft, target);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
  withFile(dir, "r", fsyncSync);
}

function withFile(path: string, flags: string, use: (file: number) => void): void {
  const file = openSync(path, flags, 0o600);
  try {
    use(file);
  } finally {
    closeSync(file);
  }
}
