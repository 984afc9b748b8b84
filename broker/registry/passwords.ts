/**
 * Passwords of developers: which may be chosen, and what is kept of them, scrypt (RFC 7914) as a PHC string.
 *
 * A hash costs a tenth of a second and 32 MiB, so few are made at a time, few wait, and more are refused: whoever asks for
 * hashes holds up others who do, and nobody else. Those who are known wait in a line of their own, and the lines take turns.
 */
import { randomBytes, scrypt, timingSafeEqual } from "node:crypto";
import { refuse } from "../../shared/refusal.ts";

/** How long a password may be, in characters. */
export const passwordLength = { min: 12, max: 256 } as const;

/** What a hash costs (RFC 7914, section 2): `n` is the logarithm of N. */
interface Cost {
  readonly n: number;
  readonly r: number;
  readonly p: number;
}

/** Makes and checks hashes, a few at a time. */
export interface Hashing {
  /** A PHC string. Throws `limit.reached`. */
  hash(password: string, who?: Waiting): Promise<string>;
  /** Whether it is the password of which this was made. Without one it costs the same and is none. Throws `limit.reached`. */
  verify(password: string, stored: string | null | undefined, who?: Waiting): Promise<boolean>;
}

/** In which line somebody waits: default, with strangers. */
export interface Waiting {
  readonly isKnown: boolean;
}

/** Bounds on the hashes of one process. */
export interface HashingLimits {
  /** Made at a time. */
  readonly atOnce: number;
  /** Waiting for that, in each line. */
  readonly waiting: number;
}

export const standardCost: Cost = { n: 15, r: 8, p: 3 };
const saltBytes = 16;
const hashBytes = 32;
const stranger: Waiting = { isKnown: false };
/** Of no password; of the standard cost. */
const decoy = formatPhc(standardCost, Buffer.alloc(saltBytes), Buffer.alloc(hashBytes));

/** Words that alone, or again and again, or with digits and signs around them, make no password. */
const words =
  /^(?:password|passwort|passphrase|qwerty(?:uiop)?|qwertz(?:uiop)?|admin(?:istrator)?|letmein|welcome|changeme|iloveyou|secret|default|postern|login|test)+$/;
const rows = [
  "0123456789",
  "abcdefghijklmnopqrstuvwxyz",
  "qwertyuiop",
  "qwertzuiop",
  "asdfghjkl",
  "zxcvbnm",
  "yxcvbnm",
];
const leastDistinct = 5;

/**
 * What is wrong with a password that somebody chooses, in words; nothing where it may be used. `email` is the address of
 * the account.
 */
export function faultOf(password: string, email: string): string | undefined {
  const text = normalise(password);
  const { length } = Array.from(text);
  if (length < passwordLength.min || length > passwordLength.max) {
    return `${passwordLength.min} to ${passwordLength.max} characters`;
  }
  if (/[\p{Cc}\p{Cs}]/u.test(text)) return "no control characters";
  const lower = text.toLowerCase();
  if (lower === email || lower === email.split("@", 1)[0]) return "not the address";
  const letters = lower.replaceAll(/[^\p{L}]/gu, "");
  if (new Set(lower).size < leastDistinct || words.test(letters) || isRow(lower)) return "too easy to guess";
  return undefined;
}

/** The hashes of one process. */
export function openHashing({ atOnce, waiting }: HashingLimits): Hashing {
  const strangers: (() => void)[] = [];
  const known: (() => void)[] = [];
  let running = 0;
  let isTurnOfKnown = false;

  function next(): (() => void) | undefined {
    isTurnOfKnown = !isTurnOfKnown;
    return isTurnOfKnown ? (known.shift() ?? strangers.shift()) : (strangers.shift() ?? known.shift());
  }

  async function take({ isKnown }: Waiting): Promise<void> {
    if (running < atOnce) {
      running++;
      return;
    }
    const line = isKnown ? known : strangers;
    if (line.length >= waiting) refuse("limit.reached", "hashes of passwords that wait");
    // whoever ends hands the place on, so it is never free in between
    await new Promise<void>((resolve) => line.push(resolve));
  }

  async function derive(password: string, salt: Uint8Array, cost: Cost, who: Waiting): Promise<Buffer> {
    await take(who);
    try {
      return await runScrypt(password, salt, cost);
    } finally {
      const begin = next();
      if (begin === undefined) running--;
      else begin();
    }
  }

  return {
    async hash(password, who = stranger) {
      const salt = randomBytes(saltBytes);
      return formatPhc(standardCost, salt, await derive(password, salt, standardCost, who));
    },
    async verify(password, stored, who = stranger) {
      const { cost, salt, hash } = readPhc(stored ?? decoy);
      const derived = await derive(password, salt, cost, who);
      return timingSafeEqual(derived, hash) && stored != null;
    },
  };
}

/** One password is one text, however it was typed (RFC 8265 has the reasons; NFKC as for passphrases of networks). */
function normalise(password: string): string {
  return password.normalize("NFKC");
}

function runScrypt(password: string, salt: Uint8Array, { n, r, p }: Cost): Promise<Buffer> {
  const N = 2 ** n;
  return new Promise((resolve, reject) => {
    scrypt(normalise(password), salt, hashBytes, { N, r, p, maxmem: 256 * N * r }, (error, derived) => {
      if (error === null) resolve(derived);
      else reject(error);
    });
  });
}

/** The PHC string format: `$scrypt$ln=15,r=8,p=3$<salt>$<hash>`, base64 without padding. */
export function formatPhc({ n, r, p }: Cost, salt: Uint8Array, hash: Uint8Array): string {
  return `$scrypt$ln=${n},r=${r},p=${p}$${toBase64(salt)}$${toBase64(hash)}`;
}

/** Throws TypeError for what we did not write. */
function readPhc(text: string): { readonly cost: Cost; readonly salt: Buffer; readonly hash: Buffer } {
  const match = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]{43})$/.exec(text);
  if (match === null) throw new TypeError("no hash of a password");
  const [n, r, p] = match.slice(1, 4).map(Number);
  return {
    cost: { n: n!, r: r!, p: p! },
    salt: Buffer.from(match[4]!, "base64"),
    hash: Buffer.from(match[5]!, "base64"),
  };
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}

/** Whether it is nothing but neighbours on a keyboard or in the alphabet, up or down, over and over. */
function isRow(text: string): boolean {
  return rows.some((row) => {
    const round = row.repeat(Math.ceil(text.length / row.length) + 1);
    return round.includes(text) || Array.from(round).reverse().join("").includes(text);
  });
}
