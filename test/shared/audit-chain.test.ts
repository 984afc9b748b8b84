/** The chain through the audit log: vectors that were worked out elsewhere, and every way to break it. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  CHAIN_START,
  formatHead,
  formatRow,
  hashRow,
  openChainCheck,
  parseHead,
  parseRow,
  readRow,
  type AuditRow,
  type ChainedRow,
  type ChainFault,
  type ChainHead,
} from "../../shared/audit-chain.ts";

const first: AuditRow = {
  seq: 1,
  at: 1_800_000_000,
  event: "client.created",
  actor: "admin",
  project: "farm",
  subject: "farm.pi",
  reason: null,
  refusal_id: null,
  facts: '{"kind":"device","roles":["sensor"]}',
};
const second: AuditRow = {
  seq: 2,
  at: 1_800_000_001,
  event: "token.refused",
  actor: "farm.pi",
  project: "farm",
  subject: "farm.pi",
  reason: "request.scope",
  refusal_id: "abc",
  facts: '{"name":"Gärtner \\"é\\""}',
};
const third: AuditRow = { ...first, seq: 3, event: "client.disabled", facts: null };

function chain(rows: readonly AuditRow[]): ChainedRow[] {
  let previous = CHAIN_START;
  return rows.map((row) => ({ ...row, hash: Buffer.from((previous = hashRow(previous, row))).toString("hex") }));
}

/** The first fault of a log, and the last row before it. */
function follow(rows: readonly ChainedRow[], noted?: ChainHead): { fault: ChainFault | undefined; head: ChainHead } {
  const check = openChainCheck(noted);
  for (const row of rows) {
    const fault = check.take(row);
    if (fault !== undefined) return { fault, head: check.head };
  }
  return { fault: check.end(), head: check.head };
}

const whole = chain([first, second, third]);
const head: ChainHead = { seq: 3, hash: whole[2]!.hash! };

describe("the hash of a row", () => {
  it("is that of a program of somebody else", () => {
    expect(whole.slice(0, 2).map((row) => row.hash)).toEqual([
      "10a20fe06647dbd7dbc00cc089a94c3791810a32269837a82576d6c68b6c218a",
      "5bcd5a801001c4586ace7a8c4aeb1ba47b029abb6bd7ddcfd63891f9f6b7db91",
    ]);
  });

  it.each(Object.keys(first) as (keyof AuditRow)[])("covers %s", (column) => {
    const other = typeof second[column] === "number" ? second[column] + 1 : `${String(second[column])}x`;
    expect(hashRow(CHAIN_START, { ...second, [column]: other })).not.toEqual(hashRow(CHAIN_START, second));
    const hashes = (["", null] as const).map((value) => hashRow(CHAIN_START, { ...second, [column]: value }));
    expect(hashes[0]).not.toEqual(hashes[1]);
  });
});

describe("a chain", () => {
  it("that is whole has no fault, with and without a head that was noted down", () => {
    expect(follow(whole)).toEqual({ fault: undefined, head });
    expect(follow(whole, head).fault).toBeUndefined();
    expect(follow(whole, { seq: 2, hash: whole[1]!.hash! }).fault).toBeUndefined();
    expect(follow([])).toEqual({ fault: undefined, head: { seq: 0, hash: "00".repeat(32) } });
  });

  const remade = chain([first, { ...second, actor: "farm.pj" }, third]);
  const hashFault = "its hash is not that of its content and the row before";
  it.each<[what: string, rows: ChainedRow[], noted: ChainHead | undefined, fault: ChainFault]>([
    [
      "a row that was changed",
      [whole[0]!, { ...whole[1]!, actor: "farm.pj" }, whole[2]!],
      undefined,
      { seq: 2, why: hashFault },
    ],
    ["a row that was changed with its hash", [whole[0]!, remade[1]!, whole[2]!], undefined, { seq: 3, why: hashFault }],
    ["a row without a hash", [whole[0]!, { ...whole[1]!, hash: null }], undefined, { seq: 2, why: hashFault }],
    [
      "a row that was removed",
      [whole[0]!, whole[2]!],
      undefined,
      { seq: 2, why: "it is missing or not in its place, row 3 stands there" },
    ],
    [
      "a row that was removed, the others numbered anew",
      [whole[0]!, { ...whole[2]!, seq: 2 }],
      undefined,
      { seq: 2, why: hashFault },
    ],
    [
      "rows in another order",
      [whole[0]!, whole[2]!, whole[1]!],
      undefined,
      { seq: 2, why: "it is missing or not in its place, row 3 stands there" },
    ],
    [
      "a beginning that was cut",
      whole.slice(1),
      undefined,
      { seq: 1, why: "it is missing or not in its place, row 2 stands there" },
    ],
    [
      "a row that stands there twice",
      [whole[0]!, whole[0]!],
      undefined,
      { seq: 2, why: "it is missing or not in its place, row 1 stands there" },
    ],
    [
      "an end that was cut, by the head",
      whole.slice(0, 2),
      head,
      { seq: 3, why: "the log ends before it, and row 3 was noted down" },
    ],
    ["all of it made anew, by the head", remade, head, { seq: 3, why: "its hash is not the one that was noted down" }],
  ])("shows %s", (_, rows, noted, fault) => {
    expect(follow(rows, noted).fault).toEqual(fault);
  });

  it("does not show by itself that its end was cut: the head that was noted down does", () => {
    expect(follow(whole.slice(0, 2)).fault).toBeUndefined();
  });
});

const text = fc.option(fc.string({ unit: "binary" }), { nil: null });
const anyRow = fc.record({
  seq: fc.nat(),
  at: fc.nat(),
  event: fc.string(),
  actor: fc.string({ unit: "grapheme" }),
  project: text,
  subject: text,
  reason: text,
  refusal_id: text,
  facts: fc.option(fc.json(), { nil: null }),
  hash: fc.constant("ab".repeat(32)),
});

describe("a line of an export", () => {
  it("reads as what was written", () => {
    fc.assert(
      fc.property(anyRow, (row) => {
        expect(parseRow(formatRow(row))).toEqual(row);
      }),
    );
  });

  it("with one bit flipped anywhere is none, or breaks the chain", () => {
    const bytes = Buffer.from(formatRow(whole[1]!));
    for (let at = 0; at < bytes.length; at++) {
      for (const bit of [1, 32]) {
        const changed = Buffer.from(bytes);
        changed[at]! ^= bit;
        const row = parseRow(changed.toString("utf8"));
        expect(row === undefined || follow([whole[0]!, row]).fault?.seq === 2, `${at} ^ ${bit}`).toBe(true);
      }
    }
  });

  const line = formatRow(whole[0]!);
  it.each<[string, string]>([
    ["no JSON", "seq"],
    ["null", "null"],
    ["a list", "[]"],
    ["white space", line.replace(":", ": ")],
    ["a member too many", line.replace(/\}$/, ',"more":null}')],
    ["a member too few", line.replace(/,"hash":"[0-9a-f]+"/, "")],
    ["a member twice", line.replace("{", '{"seq":1,')],
    ["members in another order", line.replace('"seq":1,"at":1800000000', '"at":1800000000,"seq":1')],
    ["a number as text", line.replace('"seq":1', '"seq":"1"')],
    ["a number with a fraction", line.replace('"seq":1', '"seq":1.0')],
    ["facts that are no text", line.replace(/"facts":".*?[^\\]"/, '"facts":{}')],
    ["an event that is null", line.replace('"client.created"', "null")],
  ])("is not read from %s", (_, wrong) => {
    expect(wrong).not.toBe(line);
    expect(parseRow(wrong)).toBeUndefined();
  });

  it("is read from JSON of another order where it is not to the byte", () => {
    const { seq, ...rest } = whole[0]!;
    expect(readRow({ ...rest, seq })).toEqual(whole[0]);
  });
});

describe("a head", () => {
  it("is written and read", () => {
    expect(parseHead(formatHead(head))).toEqual(head);
  });

  it.each(["", "3", `3:${"a".repeat(63)}`, `0:${"a".repeat(64)}`, `03:${"a".repeat(64)}`, `3:${"A".repeat(64)}`])(
    "is not read from %j",
    (wrong) => {
      expect(parseHead(wrong)).toBeUndefined();
    },
  );
});
