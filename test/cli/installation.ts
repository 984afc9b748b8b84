/** An installation for a test: authority and broker on port 0 in a folder of its own, and commands that know it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import type { PosternLimits } from "../../broker/limits.ts";
import { startPostern, type Postern, type PosternOptions } from "../../broker/up.ts";
import { postern, posternJson, type Json, type Transcript, type TranscriptOptions } from "./transcript.ts";

export interface Installation {
  readonly postern: Postern;
  /** A folder for agents and files, removed with the rest. */
  readonly dir: string;
  readonly dataDir: string;
  /** `postern <line> --data …`, words separated by one space. */
  run(line: string, options?: TranscriptOptions): Promise<Transcript>;
  /** The same with `--json`; throws when it fails. */
  json(line: string): Promise<Json>;
  close(): Promise<void>;
}

export async function openInstallation(
  limits: Partial<PosternLimits> = {},
  more: Partial<PosternOptions> = {},
): Promise<Installation> {
  const dir = mkdtempSync(join(tmpdir(), "postern-cli-"));
  const dataDir = join(dir, "data");
  const running = await startPostern({
    dataDir,
    bind: "127.0.0.1",
    httpPort: 0,
    mqttsPort: 0,
    wssPort: 0,
    mqttPort: null,
    limits,
    log: pino({ level: "silent" }),
    ...more,
  });
  const words = (line: string): string[] => [...line.split(" "), "--data", dataDir];
  return {
    postern: running,
    dir,
    dataDir,
    run: (line, options) => postern(words(line), options),
    json: (line) => posternJson(...words(line)),
    async close() {
      await running.close();
      rmSync(dir, { recursive: true });
    },
  };
}
