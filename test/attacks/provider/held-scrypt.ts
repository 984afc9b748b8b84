/**
 * Hashes of passwords that wait for each other, so that requests are under way at one moment and not one after the other. For
 * `vi.mock("node:crypto", …)`, which has to stand in the test itself.
 */
import { cheapen } from "../../authority/cheap-scrypt.ts";

type Crypto = typeof import("node:crypto");
type Scrypt = (...parameters: readonly unknown[]) => void;

const waiting: (() => void)[] = [];

/** How many begin together, where one is made at once; and how many wait for that. */
export const held = { together: 1, waiting: (): number => waiting.length };

/** As `cheapen` does, and holds them. */
export function hold(crypto: Crypto): Crypto {
  const cheap = cheapen(crypto);
  const run = cheap.scrypt as Scrypt;
  const scrypt: Scrypt = (...parameters) => {
    waiting.push(() => run(...parameters));
    if (waiting.length < held.together) return;
    for (const begin of waiting.splice(0)) begin();
  };
  return { ...cheap, scrypt };
}
