/** Assertions and proofs that were used: what is kept in memory of the table says what the table says, whatever happens to it. */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { assertUnspent, spendAssertion, spendProof } from "../../broker/registry/assertions.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { countOnRecord, isOnRecord, type Spent } from "../../broker/registry/spent-index.ts";
import { createSigner, generatePrivateKey } from "../../shared/es256.ts";
import { mintDpopProof, readDpopProof } from "../../shared/dpop.ts";
import { NOW, openFarm, openFixture, refusal } from "./fixture.ts";

const client = "farm.a";
const id = (text: string | number): Uint8Array => Buffer.from(`${text}`);
const spend = (r: Registry, name: string | number, exp = NOW + 9): void => spendAssertion(r, client, id(name), exp);
const isSpent = (r: Registry, name: string | number): boolean => isOnRecord(r, { client, id: id(name) });
const rows = (r: Registry): Spent[] => r.db.prepare<[], Spent>(`SELECT client, id FROM assertion`).all();

describe("what was used", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "postern-spent-"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const proof = readDpopProof(
    mintDpopProof(
      { method: "POST", url: "https://localhost/token", nowSeconds: NOW, id: id("p") },
      createSigner("", generatePrivateKey()),
    ),
  );

  it.each<[how: string, stop: (r: Registry, file: string) => string]>([
    [
      "closed",
      (r, file) => {
        r.close();
        return file;
      },
    ],
    [
      "killed, with nothing more than what is in its files at that moment",
      (_, file) => {
        const copy = join(directory, "copy.db");
        for (const end of ["", "-wal"]) cpSync(file + end, copy + end);
        return copy;
      },
    ],
  ])("is used when the registry is opened again that was %s", async (_, stop) => {
    const file = join(directory, "postern.db");
    const { r } = openFarm(file);
    spend(r, "alone");
    await Promise.all([
      r.appendSoon(() => spend(r, "shared")),
      r.appendSoon(() => spendProof(r, proof)),
      expect(
        r.appendSoon(() =>
          r.append(() => {
            spend(r, "undone");
            throw new Error("mint");
          }),
        ),
      ).rejects.toThrow("mint"),
    ]);
    const { r: again, clock } = openFixture(stop(r, file));
    // also by a clock that has been set back since
    clock.now = NOW - 600;
    for (const name of ["alone", "shared"]) {
      expect(() => assertUnspent(again, client, id(name))).toThrow(refusal("assertion.replayed"));
      expect(() => spend(again, name)).toThrow(refusal("assertion.replayed"));
    }
    expect(() => spendProof(again, proof)).toThrow(refusal("dpop.replayed"));
    spend(again, "undone");
    again.close();
  });

  it("is used when others that waited with it are undone, and not when it is undone itself", async () => {
    const { r } = openFarm();
    const outcomes = await Promise.allSettled([
      r.appendSoon(() => spend(r, "before")),
      r.appendSoon(() =>
        r.append(() => {
          spend(r, "undone");
          r.append(() => spend(r, "undone within"));
          throw new Error("mint");
        }),
      ),
      r.appendSoon(() => spend(r, "after")),
      r.appendSoon(() => spend(r, "undone")),
      r.appendSoon(() => spend(r, "before")),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual([
      "fulfilled",
      "rejected",
      "fulfilled",
      "fulfilled",
      "rejected",
    ]);
    expect(["before", "after", "undone", "undone within"].map((name) => isSpent(r, name))).toEqual([
      true,
      true,
      true,
      false,
    ]);
    expect(countOnRecord(r)).toBe(3);
  });

  it("is not used when what it shared could not be committed", async () => {
    const { r } = openFarm();
    spend(r, "first");
    const outcomes = await Promise.allSettled([
      r.appendSoon(() => spend(r, "one")),
      r.appendSoon(() => r.db.exec("ROLLBACK")),
      r.appendSoon(() => spend(r, "two")),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    expect(["first", "one", "two"].map((name) => isSpent(r, name))).toEqual([true, false, false]);
    for (const name of ["one", "two"]) spend(r, name);
  });

  it("is used by one client and by another, each once", () => {
    const { r } = openFarm();
    const bytes = id("1");
    for (const name of ["farm.a", "farm.b"]) spendAssertion(r, name, bytes, NOW + 9);
    for (const name of ["farm.a", "farm.b"]) {
      expect(() => spendAssertion(r, name, id("1"), NOW + 9)).toThrow(refusal("assertion.replayed"));
    }
  });

  it("goes from memory with its row, and stays when the row does", () => {
    const { r, clock } = openFarm();
    for (let n = 0; n < 100; n++) spend(r, n, NOW + 10);
    clock.now = NOW + 71;
    expect(() =>
      r.append(() => {
        for (let n = 0; n < 64; n++) spend(r, `new ${n}`, NOW + 999);
        expect(rows(r).length).toBe(64);
        throw new Error("mint");
      }),
    ).toThrow("mint");
    // the clock is set back, and what was about to go is used still
    clock.now = NOW;
    for (const n of [0, 50, 99]) expect(() => spend(r, n)).toThrow(refusal("assertion.replayed"));
    clock.now = NOW + 71;
    for (let n = 0; n < 64; n++) spend(r, `new ${n}`, NOW + 999);
    expect([rows(r).length, countOnRecord(r)]).toEqual([64, 64]);
  });

  it("is in memory as it is in the table after any mixture of work that is done and work that is undone", async () => {
    const piece = fc.record({
      name: fc.nat(9),
      how: fc.constantFrom("append", "soon", "change", "later"),
      end: fc.constantFrom("well", "well", "after", "rollback"),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 40 }), async (pieces) => {
        const { r, clock } = openFarm();
        let outcomes: Promise<unknown>[] = [];
        for (const { name, how, end } of pieces) {
          const work = (): void => {
            spend(r, name, clock.now);
            if (end === "rollback") r.db.exec("ROLLBACK");
            if (end !== "well") throw new Error("undone");
          };
          if (how === "later") clock.now += 61;
          else if (how === "soon") outcomes.push(r.appendSoon(() => r.append(work)));
          else {
            await Promise.allSettled(outcomes);
            outcomes = [];
            try {
              r[how](work);
            } catch {
              // undone, or used before
            }
          }
        }
        await Promise.allSettled(outcomes);
        const kept = rows(r);
        expect(new Set(kept.map((row) => Buffer.from(row.id).toString())).size).toBe(kept.length);
        expect(kept.every((row) => isOnRecord(r, row))).toBe(true);
        expect(countOnRecord(r)).toBe(kept.length);
        r.close();
      }),
      { numRuns: 200 },
    );
  });
});

describe("what is to happen if a transaction is undone", () => {
  it("happens then, the last first, and not after a commit", async () => {
    const { r } = openFarm();
    const taken: string[] = [];
    const note = (name: string): void => r.ifUndone(() => taken.push(name));
    expect(() => note("x")).toThrow(TypeError);
    r.append(() => note("committed"));
    expect(() =>
      r.append(() => {
        note("one");
        r.append(() => note("two"));
        throw new Error("undone");
      }),
    ).toThrow("undone");
    expect(taken).toEqual(["two", "one"]);
    taken.length = 0;
    const soon = (name: string, then?: () => void): Promise<void> =>
      r.appendSoon(() =>
        r.append(() => {
          note(name);
          then?.();
        }),
      );
    const failing = (): never => {
      throw new Error("undone");
    };
    await Promise.allSettled([soon("three"), soon("four", failing), soon("five")]);
    expect(taken).toEqual(["four"]);
    taken.length = 0;
    await Promise.allSettled([soon("six"), soon("seven", () => r.db.exec("ROLLBACK")), soon("eight")]);
    expect(taken.toSorted()).toEqual(["seven", "six"]);
  });
});
