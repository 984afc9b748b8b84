import { describe, expect, test } from "vitest";
import { encode } from "../../shared/cbor.ts";
import { readBlocks, readMarkers, readText, updateBlocks, writeBlocks } from "./blocks.ts";
import { dump, explainCbor, readDump } from "./hexdump.ts";
import { computeBlocks } from "./protocol-blocks.ts";
import { checkExamples } from "./protocol-example.ts";

const path = "docs/protocol.md";

describe("docs/protocol.md", () => {
  const computed = computeBlocks();
  updateBlocks(path, computed);
  const text = readText(path);
  const blocks = readBlocks(text);

  test("shows examples that the code accepts", () => {
    expect(checkExamples).not.toThrow();
  });

  test("has each computed block once, and no other", () => {
    expect(readMarkers(text).toSorted()).toEqual([...computed.keys()].toSorted());
    expect([...blocks.keys()].toSorted()).toEqual([...computed.keys()].toSorted());
  });

  test.each([...computed])("has the block %s as the code computes it (UPDATE_DOCS=1 rewrites it)", (name, content) => {
    expect(blocks.get(name)).toBe(content);
  });

  test("differs when a byte of a block differs", () => {
    const block = computed.get("token.cwt")!;
    const at = block.indexOf("d83d");
    const changed = writeBlocks(text, new Map([["token.cwt", `${block.slice(0, at)}d83c${block.slice(at + 4)}`]]));
    expect(readBlocks(changed).get("token.cwt")).not.toBe(block);
  });
});

describe("a dump", () => {
  test("holds exactly the bytes that it explains", () => {
    const values = [
      0,
      24,
      1_767_225_600,
      -1,
      -65_537,
      "text",
      true,
      null,
      new Uint8Array(40),
      [1, [2]],
      new Map([[1, 2]]),
    ];
    const bytes = encode(values);
    expect(Buffer.from(readDump(dump(explainCbor(bytes)))).toString("hex")).toBe(Buffer.from(bytes).toString("hex"));
  });
});
