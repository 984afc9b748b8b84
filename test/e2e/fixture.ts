/**
 * The built program and its peers as processes: started, fed, read line by line, and ended. Everything that a test file
 * starts or makes here is gone when the file is done, and nothing is waited for without a bound.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, vi } from "vitest";
import { watchStalls } from "../undisturbed.ts";

/** Parsed JSON, whose shape each test knows. */
// oxlint-disable-next-line no-explicit-any
export type Json = any;

/** What a finished program left. */
export interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
}

export interface StartOptions {
  readonly stdin?: string | Uint8Array;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Who runs it, where the tests may choose. */
  readonly userId?: number;
  /** A process group of its own, so that {@link Running.interruptGroup} is a Ctrl-C. */
  readonly ownGroup?: boolean;
}

/** What `postern up --json` says when it is ready. */
export interface Ready {
  readonly event: "ready";
  readonly issuer: string;
  readonly mqtts: string;
  readonly wss: string;
  readonly mqtt: string | null;
  readonly ca: string;
  readonly adminKey: string;
}

/** Ports that nobody else is given, for what has to come back on the same ones. */
export interface Ports {
  readonly http: number;
  readonly mqtts: number;
  readonly wss: number;
}

export const executable = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
export const demo = fileURLToPath(new URL("../../dist/demo/start.js", import.meta.url));

// every command is a process of its own, and a test may be dozens of them on a machine that has other work
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });
/** Longer than anything here takes on a busy machine; shorter than the tests' own bound. */
const patienceMs = 40_000;
/** A start makes keys and certificates, and may share the machine with all the others. */
const slowStartMs = 60_000;
/** Below the ports that systems hand out by themselves: nobody else is given one of these between two starts. */
const firstPort = 20_000;
/** Each process that runs tests has three of its own. */
const processesApart = 4_000;

const folders: string[] = [];
const children = new Set<ChildProcess>();

afterAll(async () => {
  const ended = [...children].map((child) => once(child, "close"));
  for (const child of children) child.kill("SIGKILL");
  await Promise.all(ended);
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A new folder, removed at the end of the file. */
export function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "postern-e2e-"));
  folders.push(folder);
  return folder;
}

/** Waits, and rejects with what was waited for when it does not come. */
export async function within<T>(what: string, promise: Promise<T>, milliseconds = patienceMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const stalls = watchStalls();
  const late = new Promise<never>((_resolve, reject) => {
    const fail = (): void => reject(new Error(`${what}: nothing within ${milliseconds} ms`));
    // while this machine stood still nothing could come
    timer = setTimeout(() => (timer = setTimeout(fail, stalls.longestMs())), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
    stalls.close();
  }
}

/** The lines of one stream of a program. */
export class Lines {
  readonly seen: string[] = [];
  #at = 0;
  #isOver = false;
  #rest = "";
  readonly #waiting = new Set<() => void>();
  readonly #name: string;

  constructor(name: string, stream: NodeJS.ReadableStream) {
    this.#name = name;
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => {
      const lines = `${this.#rest}${text}`.split("\n");
      this.#rest = lines.pop() ?? "";
      this.seen.push(...lines);
      this.#wake();
    });
    // comes before the program counts as ended
    stream.on("end", () => {
      if (this.#rest !== "") this.seen.push(this.#rest);
      this.#isOver = true;
      this.#wake();
    });
  }

  /** The next line that fits; those before it are passed over. */
  async next(fits: RegExp | ((line: string) => boolean) = () => true, milliseconds = patienceMs): Promise<string> {
    const isFit = fits instanceof RegExp ? (line: string) => fits.test(line) : fits;
    const find = async (): Promise<string> => {
      for (;;) {
        while (this.#at < this.seen.length) {
          const line = this.seen[this.#at++]!;
          if (isFit(line)) return line;
        }
        if (this.#isOver) throw new Error(`${this.#name} ended without the line; it said:\n${this.seen.join("\n")}`);
        await new Promise<void>((resolve) => this.#waiting.add(resolve));
      }
    };
    const wanted = fits instanceof RegExp ? ` like ${fits}` : "";
    return within(`a line of ${this.#name}${wanted}`, find(), milliseconds);
  }

  /** The next line of JSON that has these members. */
  async json(members: Readonly<Record<string, unknown>> = {}, milliseconds = patienceMs): Promise<Json> {
    const wanted = Object.entries(members);
    const line = await this.next((line) => {
      const value = readJson(line);
      return value !== undefined && wanted.every(([name, member]) => value[name] === member);
    }, milliseconds);
    return readJson(line);
  }

  get text(): string {
    return this.seen.map((line) => `${line}\n`).join("");
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }
}

/** A program that runs. */
export interface Running {
  readonly stdout: Lines;
  readonly stderr: Lines;
  readonly isRunning: boolean;
  /** Of the process. */
  readonly pid: number;
  signal(name: NodeJS.Signals): void;
  /** Ctrl-C, as a terminal sends it: to the program and all it started. Needs `ownGroup`. */
  interruptGroup(): void;
  /** How it ended. */
  ended(milliseconds?: number): Promise<Outcome>;
  /** Asks it to end, and says how it did. */
  stop(): Promise<Outcome>;
}

/** Starts a program, with none of the environment that speaks to ours. */
export function start(program: string, args: readonly string[], options: StartOptions = {}): Running {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("POSTERN_"));
  const child = spawn(program, args, {
    env: { ...Object.fromEntries(inherited), ...options.env },
    detached: options.ownGroup ?? false,
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    ...(options.userId !== undefined && { uid: options.userId, gid: options.userId }),
  });
  children.add(child);
  const name = [program, ...args].join(" ").slice(0, 120);
  const stdout = new Lines(`${name} (stdout)`, child.stdout);
  const stderr = new Lines(`${name} (stderr)`, child.stderr);
  const closed = new Promise<Outcome>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (exitCode) => {
      children.delete(child);
      resolve({ stdout: stdout.text, stderr: stderr.text, exitCode });
    });
  });
  closed.catch(() => children.delete(child));
  // a program may end before it has read what it was given
  child.stdin.on("error", () => undefined);
  child.stdin.end(options.stdin ?? "");
  const ended = (milliseconds?: number): Promise<Outcome> => within(`the end of ${name}`, closed, milliseconds);
  return {
    stdout,
    stderr,
    ended,
    get isRunning() {
      return child.exitCode === null && child.signalCode === null;
    },
    pid: child.pid ?? 0,
    signal: (signal) => void child.kill(signal),
    interruptGroup: () => void process.kill(-child.pid!, "SIGINT"),
    stop() {
      child.kill("SIGTERM");
      return ended();
    },
  };
}

/** Runs a program to its end. */
export function run(program: string, args: readonly string[], options?: StartOptions): Promise<Outcome> {
  return start(program, args, options).ended();
}

/** Starts `postern <line>`, words separated by one space. */
export function startPostern(line: string, options?: StartOptions): Running {
  return start(process.execPath, [executable, ...line.split(" ")], options);
}

/** Runs `postern <line>`. */
export function postern(line: string, options?: StartOptions): Promise<Outcome> {
  return startPostern(line, options).ended();
}

/** Runs `postern <line> --json` and reads its one line; rejects when it fails. */
export async function posternJson(line: string, options?: StartOptions): Promise<Json> {
  const { stdout, stderr, exitCode } = await postern(`${line} --json`, options);
  if (exitCode !== 0) throw new Error(`postern ${line}: exit code ${exitCode}: ${stderr}`);
  return JSON.parse(stdout);
}

/** A shell script in a folder, its values as variables; rejects unless it ends with 0. Gives back its stdout. */
export async function shell(folder: string, script: string, env: Readonly<Record<string, string>>): Promise<string> {
  const { stdout, stderr, exitCode } = await run("sh", ["-euc", script], { cwd: folder, env });
  if (exitCode !== 0) throw new Error(`exit code ${exitCode} of\n${script}\n${stderr}`);
  return stdout.trimEnd();
}

/** An installation that runs as `postern up`. */
export interface Installation {
  readonly ready: Ready;
  readonly up: Running;
  /** For agents and files, removed at the end. */
  readonly folder: string;
  readonly dataDir: string;
  readonly port: Ports;
  /** The admin key. */
  run(line: string, options?: StartOptions): Promise<Outcome>;
  json(line: string, options?: StartOptions): Promise<Json>;
  /** Creates a ticket for a client and enrols it; gives back the agent's folder. */
  enrol(client: string): Promise<string>;
}

export interface InstallationOptions {
  readonly folder?: string;
  readonly ports?: Ports;
  readonly logLevel?: string;
  /** More words of the command line. */
  readonly words?: string;
}

/** Starts `postern up` on free ports, and waits until it is ready. */
export async function openInstallation(options: InstallationOptions = {}): Promise<Installation> {
  const { folder = makeFolder(), ports = { http: 0, mqtts: 0, wss: 0 }, logLevel = "info", words = "" } = options;
  const dataDir = join(folder, "data");
  const up = startPostern(
    `up --json --data ${dataDir} --log-level ${logLevel} ` +
      `--http-port ${ports.http} --mqtts-port ${ports.mqtts} --wss-port ${ports.wss}${words === "" ? "" : ` ${words}`}`,
  );
  const ready = (await up.stdout.json({ event: "ready" }, slowStartMs).catch((error: unknown) => {
    throw new Error(`postern up did not start: ${up.stderr.text}`, { cause: error });
  })) as Ready;
  const portOf = (url: string): number => Number(new URL(url).port);
  const json = (line: string, runOptions?: StartOptions): Promise<Json> =>
    posternJson(`${line} --data ${dataDir}`, runOptions);
  return {
    ready,
    up,
    folder,
    dataDir,
    port: { http: portOf(ready.issuer), mqtts: portOf(ready.mqtts), wss: portOf(ready.wss) },
    run: (line, runOptions) => postern(`${line} --data ${dataDir}`, runOptions),
    json,
    async enrol(client) {
      const dir = join(folder, client);
      const { ticket } = await json(`ticket create --client ${client}`);
      await posternJson(`agent enrol ${ticket} --dir ${dir}`);
      return dir;
    },
  };
}

/** Free ports, the same again for the same process as long as nobody has taken them. */
export async function findPorts(): Promise<Ports> {
  const free: number[] = [];
  for (let port = firstPort + (process.pid % processesApart) * 3; free.length < 3; port++) {
    if (await isFree(port)) free.push(port);
  }
  const [http, mqtts, wss] = free as [number, number, number];
  return { http, mqtts, wss };
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  const listening = once(server, "listening").then(
    () => true,
    () => false,
  );
  server.listen(port);
  if (!(await listening)) return false;
  await new Promise((resolve) => server.close(resolve));
  return true;
}

function readJson(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
