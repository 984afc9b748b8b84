/**
 * The version of this package, read from its package.json, which lies one folder up in the sources and two in what is built.
 */
import { readFileSync } from "node:fs";

/** The version, `unknown` where the file is not to be found. */
export function readVersion(): string {
  for (const path of ["../package.json", "../../package.json"]) {
    try {
      const { name, version } = JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8")) as Record<
        string,
        string
      >;
      if (name === "postern") return version ?? "unknown";
    } catch {
      // the other place
    }
  }
  return "unknown";
}
