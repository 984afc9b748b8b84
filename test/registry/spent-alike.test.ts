/** The same where all that was used looks alike in memory, as some of very many does: then the rows decide. */
import { expect, it, vi } from "vitest";
import { spendAssertion } from "../../broker/registry/assertions.ts";
import { countOnRecord } from "../../broker/registry/spent-index.ts";
import { NOW, openFarm, refusal } from "./fixture.ts";

vi.mock("node:crypto", async (load) => {
  const crypto = await load<typeof import("node:crypto")>();
  const hash = (...asked: Parameters<typeof crypto.hash>): ReturnType<typeof crypto.hash> =>
    typeof asked[1] === "string" && asked[1].includes("\nalike") ? "80000001".repeat(8) : crypto.hash(...asked);
  return { ...crypto, default: crypto, hash };
});

const id = (text: string): Uint8Array => Buffer.from(`alike ${text}`);

it("is used once each, of each client, and one that goes leaves the others", async () => {
  const { r, clock } = openFarm();
  const names = Array.from({ length: 40 }, (_, n) => `${n}`);
  for (const [n, name] of names.entries()) spendAssertion(r, "farm.a", id(name), NOW + (n % 2 === 0 ? 10 : 999));
  spendAssertion(r, "farm.b", id("0"), NOW + 999);
  for (const name of names) {
    expect(() => spendAssertion(r, "farm.a", id(name), NOW + 10)).toThrow(refusal("assertion.replayed"));
  }
  clock.now = NOW + 71;
  for (let n = 0; n < 64; n++) spendAssertion(r, "farm.c", id(`${n}`), NOW + 999);
  expect(countOnRecord(r)).toBe(20 + 1 + 64);
  for (const [n, name] of names.entries()) {
    const again = (): void => spendAssertion(r, "farm.a", id(name), NOW + 999);
    if (n % 2 === 0) expect(again).not.toThrow();
    else expect(again).toThrow(refusal("assertion.replayed"));
  }
  const { hash } = await import("node:crypto");
  expect(hash("sha256", "\nalike", "hex")).toBe("80000001".repeat(8));
});
