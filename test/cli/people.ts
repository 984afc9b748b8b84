/** People at their own machines, who know an authority by its address and read their mail: what they type, and what came. */
import { join } from "node:path";
import { pino } from "pino";
import type { PosternOptions } from "../../broker/up.ts";
import { openInstallation, type Installation } from "./installation.ts";
import { postern, type Json, type Transcript, type TranscriptOptions } from "./transcript.ts";

export const PASSWORD = "correct horse battery staple";

/** Somebody with a configuration folder of their own. */
export interface Person {
  readonly email: string;
  readonly folder: string;
  /** `postern <line> --url …`, with their password in the environment unless stdin, a terminal or variables are given. */
  run(line: string, options?: TranscriptOptions): Promise<Transcript>;
  /** The same with `--json`; throws when it fails. */
  json(line: string, options?: TranscriptOptions): Promise<Json>;
  /** Registers, confirms and logs in. */
  join(): Promise<void>;
}

export interface Place extends Installation {
  person(name: string): Person;
  /** All mails, as the log has them. */
  readonly mails: readonly { readonly to: string; readonly subject: string; readonly text: string }[];
  /** The code in the last mail to this address. */
  codeFor(email: string): string;
  /** The CA of the authority, a file. */
  readonly ca: string;
}

/** An authority at which anybody may register unless told otherwise, and whose mails are read in the log. */
export async function openPlace(accounts: PosternOptions["accounts"] = { registration: "open" }): Promise<Place> {
  const mails: { to: string; subject: string; text: string }[] = [];
  const log = pino(
    { level: "info" },
    {
      write(line: string) {
        const { msg, to, subject, text } = JSON.parse(line) as Record<string, string>;
        if (msg === "mail") mails.push({ to: to!, subject: subject!, text: text! });
      },
    },
  );
  const installation = await openInstallation({}, { accounts, log });
  const ca = join(installation.dataDir, "ca.pem");
  const codeFor = (email: string): string => {
    const { text } = mails.findLast(({ to }) => to === email) ?? { text: "" };
    const [, code] = /^Your (?:code|invitation) is (\S+)$/m.exec(text) ?? [];
    if (code === undefined) throw new Error(`no code for ${email}`);
    return code;
  };
  const person = (name: string): Person => {
    const email = `${name}@example.com`;
    const folder = join(installation.dir, name);
    const run: Person["run"] = (line, { environment, ...options } = {}) => {
      const isAsked = options.stdin !== undefined || options.typed !== undefined;
      return postern([...line.split(" "), "--url", installation.postern.issuer], {
        ...options,
        environment: { XDG_CONFIG_HOME: folder, ...(!isAsked && { POSTERN_PASSWORD: PASSWORD }), ...environment },
      });
    };
    const json: Person["json"] = async (line, options) => {
      const { exitCode, stdout, stderr } = await run(`${line} --json`, options);
      if (exitCode !== 0) throw new Error(stderr);
      return JSON.parse(stdout);
    };
    return {
      email,
      folder,
      run,
      json,
      async join() {
        const known = `--ca ${ca}`;
        await json(`developer register ${email} ${known}`);
        await json(`developer confirm ${email} ${codeFor(email)} ${known}`);
        await json(`login ${email} ${known}`);
      },
    };
  };
  return { ...installation, person, mails, codeFor, ca };
}
