/**
 * Hashes of passwords that cost nothing, and a count of those that were made with what they would have cost. For
 * `vi.mock("node:crypto", …)`, which has to stand in the test itself.
 */
import type { BinaryLike, ScryptOptions } from "node:crypto";

type Crypto = typeof import("node:crypto");

/** One hash. */
export interface ScryptCall {
  readonly N: number | undefined;
  readonly r: number | undefined;
  readonly p: number | undefined;
}

/** Those that were made. */
export const scryptCalls: ScryptCall[] = [];

/** What a hash of the standard cost is called with. */
export const standardCall: ScryptCall = { N: 2 ** 15, r: 8, p: 3 };

let held: (() => void)[] | undefined;

/** From now on one hash is made and not given, until the returned function gives it; those after it are given at once. */
export async function holdNext(ask: () => unknown): Promise<() => void> {
  const answers: (() => void)[] = [];
  held = answers;
  ask();
  while (answers.length === 0) await new Promise((resolve) => void setImmediate(resolve));
  return answers[0]!;
}

export function cheapen(crypto: Crypto): Crypto {
  const scrypt = (
    password: BinaryLike,
    salt: BinaryLike,
    length: number,
    { N, r, p }: ScryptOptions,
    done: (error: Error | null, key: Buffer) => void,
  ): void => {
    scryptCalls.push({ N, r, p });
    const into = held;
    held = undefined;
    crypto.scrypt(password, salt, length, { N: 2, r: 8, p: 1 }, (error, key) => {
      if (into === undefined) done(error, key);
      else into.push(() => done(error, key));
    });
  };
  return { ...crypto, scrypt: scrypt as Crypto["scrypt"] };
}
