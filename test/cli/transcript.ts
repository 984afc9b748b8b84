/**
 * Runs a command line in this process and writes down what a person would see: stdout, stderr and the exit code.
 *
 * The environment is emptied of POSTERN_ variables and of logins first; stdin is what is given, else empty.
 */
import { PassThrough, Readable } from "node:stream";
import { expect } from "vitest";
import { runProgram } from "../../cli/program.ts";

/** Has nothing of ours in it. */
const elsewhere = "/";

export interface Transcript {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

export interface TranscriptOptions {
  readonly stdin?: string | Uint8Array;
  /** What is typed at a terminal, instead of stdin. */
  readonly typed?: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Called with each chunk on stdout: for commands that run until something is done. */
  readonly onStdout?: (text: string) => void;
  readonly onStderr?: (text: string) => void;
}

/** `postern <args>`. One at a time: stdout is everybody's. */
export async function postern(args: readonly string[], options: TranscriptOptions = {}): Promise<Transcript> {
  const written = { stdout: "", stderr: "" };
  const restore = [
    capture("stdout", (text) => {
      written.stdout += text;
      options.onStdout?.(text);
    }),
    capture("stderr", (text) => {
      written.stderr += text;
      options.onStderr?.(text);
    }),
    options.typed === undefined ? replaceStdin(options.stdin) : replaceTerminal(options.typed),
    replaceEnvironment(options.environment ?? {}),
    leaveFolder(),
  ];
  try {
    return { exitCode: await runProgram(args), ...written };
  } finally {
    for (const undo of restore) undo();
  }
}

/** What a command that fails leaves; the id of a refusal may stand behind what is told. */
export function failed(stderr: unknown, exitCode = 1): { stdout: string; stderr: unknown; exitCode: number } {
  if (typeof stderr !== "string") return { stdout: "", stderr, exitCode };
  const told = stderr.trimEnd().replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  return { stdout: "", stderr: expect.stringMatching(new RegExp(`^${told}( \\(id [\\w-]{12}\\))?\n$`)), exitCode };
}

/** What a test reads out of JSON, checked by what it expects of it. */
// oxlint-disable-next-line no-explicit-any
export type Json = any;

/** The JSON that a command prints with `--json`; throws with its stderr when it fails. */
export async function posternJson(...args: string[]): Promise<Json> {
  const { exitCode, stdout, stderr } = await postern([...args, "--json"]);
  if (exitCode !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

function capture(name: "stdout" | "stderr", hear: (text: string) => void): () => void {
  const stream = process[name];
  const original = stream.write.bind(stream);
  stream.write = (chunk: string | Uint8Array) => {
    hear(Buffer.from(chunk as Uint8Array).toString("utf8"));
    return true;
  };
  return () => (stream.write = original);
}

function replaceStdin(content: string | Uint8Array | undefined): () => void {
  return putStdin(
    content === undefined ? new PassThrough().end() : Readable.from([Buffer.from(content as Uint8Array)]),
  );
}

/** A terminal that says nothing by itself: what is typed is shown only where the program shows it. */
function replaceTerminal(typed: string): () => void {
  const terminal = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => undefined });
  terminal.end(typed);
  return putStdin(terminal);
}

function putStdin(stdin: Readable): () => void {
  const original = Object.getOwnPropertyDescriptor(process, "stdin")!;
  Object.defineProperty(process, "stdin", { value: stdin, configurable: true });
  return () => Object.defineProperty(process, "stdin", original);
}

/** Where the tests are started there may be an installation, which commands would find. */
export function leaveFolder(): () => void {
  const before = process.cwd();
  process.chdir(elsewhere);
  return () => process.chdir(before);
}

function replaceEnvironment(given: Readonly<Record<string, string>>): () => void {
  const original = process.env;
  const kept = Object.entries(original).filter(([name]) => !name.startsWith("POSTERN_"));
  process.env = { ...Object.fromEntries(kept), XDG_CONFIG_HOME: "/nowhere", ...given };
  return () => (process.env = original);
}
