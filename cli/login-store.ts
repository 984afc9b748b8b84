/**
 * The logins of whoever runs the commands: `postern/logins.json` in their configuration folder (XDG_CONFIG_HOME, else
 * `~/.config`), readable by them alone and written in one rename.
 *
 * Each authority has one, by its origin, with the CA that it was reached with, so that later commands trust the same.
 */
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";
import { parseJson, readText, writeAtomically } from "../agent/folder.ts";
import { fail } from "./failure.ts";

/** A developer who is logged in to an authority. */
export interface StoredLogin {
  /** What goes into `Authorization`; a secret. */
  readonly token: string;
  readonly email: string;
  /** PEM; absent, the system's trust. */
  readonly ca?: string;
}

/** A login with its authority. */
export interface FoundLogin extends StoredLogin {
  /** The origin. */
  readonly url: string;
}

interface Stored {
  /** The origin that was logged in to last. */
  readonly last?: string;
  readonly logins: Readonly<Record<string, StoredLogin>>;
}

const fileName = "logins.json";

/** The folder that holds the file. */
export function loginFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const given = environment["XDG_CONFIG_HOME"] ?? "";
  // a path that is not absolute counts for none there
  return join(isAbsolute(given) ? given : join(homedir(), ".config"), "postern");
}

/** The login at this address, whatever its path. */
export function findLogin(url: string, environment?: NodeJS.ProcessEnv): FoundLogin | undefined {
  const { origin } = new URL(url);
  const login = own(read(environment).logins, origin);
  return login && { ...login, url: origin };
}

/** The CA of the login at this address; none where the logins cannot be read, which says who needs one of them. */
export function findCa(url: string, environment?: NodeJS.ProcessEnv): string | undefined {
  try {
    return findLogin(url, environment)?.ca;
  } catch {
    return undefined;
  }
}

/** The login that was made last, or the only one. */
export function findLastLogin(environment?: NodeJS.ProcessEnv): FoundLogin | undefined {
  const { last, logins } = read(environment);
  const origins = Object.keys(logins);
  const origin = last ?? (origins.length === 1 ? origins[0] : undefined);
  const login = origin === undefined ? undefined : own(logins, origin);
  return login && { ...login, url: origin! };
}

/** Keeps a login in the place of the one before at the same address. */
export function storeLogin(url: string, login: StoredLogin, environment?: NodeJS.ProcessEnv): void {
  const { origin } = new URL(url);
  write({ last: origin, logins: { ...read(environment).logins, [origin]: login } }, environment);
}

/** Forgets the login at this address. */
export function forgetLogin(url: string, environment?: NodeJS.ProcessEnv): void {
  const { origin } = new URL(url);
  const { last, logins } = read(environment);
  const { [origin]: _, ...others } = logins;
  write({ ...(last !== undefined && last !== origin && { last }), logins: others }, environment);
}

function own<Value>(record: Readonly<Record<string, Value>>, key: string): Value | undefined {
  return Object.hasOwn(record, key) ? record[key] : undefined;
}

function write(stored: Stored, environment: NodeJS.ProcessEnv | undefined): void {
  const folder = loginFolder(environment);
  try {
    writeAtomically(folder, fileName, `${JSON.stringify(stored, null, 2)}\n`);
  } catch (error) {
    fail(`${join(folder, fileName)} cannot be written (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`);
  }
}

function read(environment: NodeJS.ProcessEnv | undefined): Stored {
  const folder = loginFolder(environment);
  const text = readFile(folder);
  if (text === undefined) return { logins: {} };
  const { last, logins } = (parseJson(text) ?? {}) as { last?: unknown; logins?: unknown };
  if (typeof logins !== "object" || logins === null) {
    return fail(`${join(folder, fileName)} holds no logins; remove it and log in again`);
  }
  return {
    ...(typeof last === "string" && { last }),
    logins: Object.fromEntries(Object.entries(logins).filter(([origin, login]) => isLogin(origin, login))),
  };
}

function readFile(folder: string): string | undefined {
  try {
    return readText(folder, fileName);
  } catch (error) {
    return fail((error as Error).message);
  }
}

function isLogin(origin: string, login: unknown): login is StoredLogin {
  const { token, email, ca } = (login ?? {}) as Record<string, unknown>;
  const isOrigin = URL.canParse(origin) && new URL(origin).origin === origin && origin.startsWith("https:");
  return (
    isOrigin &&
    typeof token === "string" &&
    /^[!-~]+$/.test(token) &&
    typeof email === "string" &&
    ["string", "undefined"].includes(typeof ca)
  );
}
