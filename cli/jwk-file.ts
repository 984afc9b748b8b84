/**
 * Public keys in files: PEM, a JWK, or a JWK set (RFC 7517).
 *
 * A private key is refused here already, so that it does not leave the machine.
 */
import { createPublicKey } from "node:crypto";
import type { Command } from "commander";
import { fail, failUsage } from "./failure.ts";
import { readKeyFile } from "./private-key.ts";

/** The two options of a command that takes public keys. */
export interface KeyOptions {
  readonly jwk?: string;
  readonly jwks?: string;
}

/** Adds them. */
export function addKeyOptions(command: Command): Command {
  return command
    .option("--jwk <file>", "a public key on P-256: a JWK, or PEM")
    .option("--jwks <file>", "public keys as a JWK set");
}

/** The keys that the options name; nothing where neither is given. */
export function readKeyOptions({ jwk, jwks }: KeyOptions): object[] | undefined {
  if (jwk !== undefined && jwks !== undefined) return failUsage("give --jwk or --jwks, not both");
  if (jwk !== undefined) return [readKey(jwk, readPem(jwk) ?? readObject(jwk))];
  if (jwks === undefined) return undefined;
  const { keys } = readObject(jwks);
  if (!Array.isArray(keys)) return fail(`${jwks} is no JWK set: it has no member keys`);
  return keys.map((key: unknown) => readKey(jwks, key));
}

/** The public key in PEM as a JWK; nothing where the file is not PEM of one. */
function readPem(file: string): object | undefined {
  const text = readKeyFile(file);
  const label = /^\s*-----BEGIN ([A-Z ]+)-----/.exec(text)?.[1];
  if (label?.endsWith("PRIVATE KEY") === true) {
    return fail(`${file} holds a private key; give the public one: openssl pkey -in PRIVATE.pem -pubout`);
  }
  if (label !== "PUBLIC KEY") return undefined;
  try {
    return createPublicKey(text).export({ format: "jwk" });
  } catch {
    return fail(`${file} holds no public key that can be read`);
  }
}

function readObject(file: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(readKeyFile(file));
    if (isObject(value)) return value;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return fail(`${file} is no JSON object`);
}

function readKey(file: string, key: unknown): object {
  if (!isObject(key) || typeof key["kty"] !== "string") return fail(`${file} holds what is no JWK: it has no kty`);
  const secrets = ["d", "k", "p", "q"].filter((member) => Object.hasOwn(key, member));
  return secrets.length === 0 ? key : fail(`${file} holds a private key; give the public part alone, without d`);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
