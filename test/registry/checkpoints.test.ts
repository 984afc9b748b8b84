/** The journal of the registry is moved into its file beside the event loop, whatever made it grow. */
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { ADMIN, audit } from "../../broker/registry/audit.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { openFixture } from "./fixture.ts";

function open(): { readonly r: Registry; readonly file: string } {
  const directory = mkdtempSync(join(tmpdir(), "postern-registry-"));
  const file = join(directory, "postern.db");
  const { r } = openFixture(file);
  onTestFinished(() => {
    r.close();
    rmSync(directory, { recursive: true });
  });
  return { r, file };
}

/** A row of more than four pages. */
const write = (r: Registry): void => {
  audit(r, { event: "test.written", actor: ADMIN, facts: { text: "x".repeat(16_500) } });
};

const writers: Readonly<Record<string, (r: Registry) => unknown>> = {
  "a change": (r) => r.change(() => write(r)),
  "a change that is synced": (r) => r.changeDurably(() => write(r)),
  "what is appended": (r) => r.append(() => write(r)),
  "what is appended together": (r) => r.appendSoon(() => write(r)),
};

for (const [name, commit] of Object.entries(writers)) {
  it(`after ${name}`, async () => {
    const { r, file } = open();
    const before = statSync(file).size;
    // of the 4 MiB that have it begin nothing has been moved, and what SQLite does by itself begins later
    for (let i = 0; i < 400; i++) await commit(r);
    // seen in the file: a journal that was moved whole begins anew with the next row, and counts nothing as moved
    await vi.waitUntil(() => statSync(file).size > before + 1_000_000, { timeout: 15_000, interval: 5 });
    expect(r.db.pragma("wal_autocheckpoint", { simple: true })).toBe(16_384);
  });
}

it("and closing leaves no journal", async () => {
  const { r, file } = open();
  for (let i = 0; i < 400; i++) r.append(() => write(r));
  r.close();
  expect([existsSync(file), existsSync(`${file}-wal`)]).toEqual([true, false]);
});
