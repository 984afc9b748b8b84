import { describe, expect, it } from "vitest";
import { faultOf, openHashing } from "../../broker/registry/passwords.ts";
import { refusal } from "./fixture.ts";

const email = "anna.lindqvist@example.com";

describe("a password that somebody chooses", () => {
  it.each([
    ["eleven signs", "k7#mWq2!vLx", "12 to 256 characters"],
    ["one more than 256", "aB3$".repeat(64) + "x", "12 to 256 characters"],
    ["twelve code units that are fewer characters", "🐎🔋📎🧷🪤k7", "12 to 256 characters"],
    ["a line feed", "k7#mWq2!vLx\nab", "no control characters"],
    ["a zero byte", "k7#mWq2!vLx\0ab", "no control characters"],
    ["half of a character", "k7#mWq2!vLx\ud800ab", "no control characters"],
    ["the address", email, "not the address"],
    ["the address in capitals", email.toUpperCase(), "not the address"],
    ["what stands before the @", "Anna.Lindqvist", "not the address"],
    ["one character", "aaaaaaaaaaaaaaaa", "too easy to guess"],
    ["four characters", "abcdabcdabcdabcd", "too easy to guess"],
    ["the digits", "123456789012", "too easy to guess"],
    ["the digits from above", "0987654321098", "too easy to guess"],
    ["the alphabet", "abcdefghijklm", "too easy to guess"],
    ["a row of keys", "qwertyuiopqwerty", "too easy to guess"],
    ["a word and digits", "Password12345", "too easy to guess"],
    ["a word between signs", "!!changeme!!99", "too easy to guess"],
    ["words over and over", "AdminPasswordAdmin", "too easy to guess"],
    ["wide letters, which are the same word", "ｐａｓｓｗｏｒｄ１２３４５", "too easy to guess"],
  ])("is not %s", (_, password, says) => {
    expect(faultOf(password, email)).toBe(says);
  });

  it.each([
    ["words", "correct horse battery"],
    ["twelve signs", "k7#mWq2!vLxZ"],
    ["twelve characters of two code units each", "🐎🔋📎🧷🪤🎈🎀🎁🎃🎄🎋🎍"],
    ["256 characters", "aB3$e".repeat(52).slice(0, 256)],
    ["a word among others", "the password of my cat"],
  ])("may be %s", (_, password) => {
    expect(faultOf(password, email)).toBeUndefined();
  });
});

describe("a hash", () => {
  const hashing = openHashing({ atOnce: 2, waiting: 10 });
  const hash = (password: string): Promise<string> => hashing.hash(password);
  const verify = (password: string, stored?: string | null): Promise<boolean> => hashing.verify(password, stored);

  it("is a PHC string of scrypt, another each time, and good for its password alone", async () => {
    const [one, other] = await Promise.all([hash("correct horse battery"), hash("correct horse battery")]);
    expect(one).toMatch(/^\$scrypt\$ln=15,r=8,p=3\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$/);
    expect(other).not.toBe(one);
    expect(await verify("correct horse battery", one)).toBe(true);
    expect(await verify("correct horse batterz", one)).toBe(false);
  });

  it("is that of RFC 7914, section 12", async () => {
    // scrypt("pleaseletmein", "SodiumChloride", N=16384, r=8, p=1), its first 32 bytes
    const key = "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2";
    const base64 = (bytes: Buffer): string => bytes.toString("base64").replace(/=+$/, "");
    const stored = `$scrypt$ln=14,r=8,p=1$${base64(Buffer.from("SodiumChloride"))}$${base64(Buffer.from(key, "hex"))}`;
    expect(await verify("pleaseletmein", stored)).toBe(true);
  });

  it("is of the password however it was typed", async () => {
    // an e with an accent, as one character and as two
    expect(await verify("cafe\u0301 correct horse", await hash("caf\u00e9 correct horse"))).toBe(true);
  });

  it("is of nobody where there is none", async () => {
    expect(await verify("correct horse battery", undefined)).toBe(false);
    expect(await verify("", null)).toBe(false);
  });
});

describe("hashes at a time", () => {
  it("are few, a few wait, and further ones are refused", async () => {
    const hashing = openHashing({ atOnce: 1, waiting: 1 });
    const asked = ["one", "two", "three"].map((password) => hashing.hash(password));
    const outcomes = await Promise.allSettled(asked);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected"]);
    expect(outcomes[2]).toEqual({ status: "rejected", reason: refusal("limit.reached") });
    // and there is room again
    await hashing.hash("four");
  });
});
