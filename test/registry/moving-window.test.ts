import { describe, expect, it } from "vitest";
import { createMovingWindow } from "../../broker/registry/moving-window.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { openFarm } from "./fixture.ts";

type Table = "issued" | "assertion";

/** The n-th row. */
function add(r: Registry, table: Table, n: number, exp: number): void {
  if (table === "assertion") r.db.prepare(`INSERT INTO assertion VALUES (?, 'farm.pi', x'01', ?)`).run(n, exp);
  else r.db.prepare(`INSERT INTO issued VALUES (?, x'01', NULL, 'farm.pi', 'a', 'k', NULL, 0, ?)`).run(n, exp);
}

function count(r: Registry, table: Table, where: string): number {
  return r.db.prepare(`SELECT count(*) FROM ${table} WHERE ${where}`).pluck().get() as number;
}

describe.each(["issued", "assertion"] as const)("a window over %s", (table) => {
  const open = () => {
    const { r } = openFarm();
    return { r, prune: createMovingWindow({ table }) };
  };

  it("takes what has expired, and nothing else, wherever it stands", () => {
    const { r, prune } = open();
    for (let n = 1; n <= 1000; n++) add(r, table, n, n % 3 === 0 ? 900 : 100);
    // 1000 rows are passed in eight steps, and there is a step with every 32nd call
    for (let call = 0; call < 8 * 32; call++) prune(r, 100);
    expect(count(r, table, "true")).toBe(1000);
    for (let call = 0; call < 8 * 32; call++) prune(r, 101);
    expect([count(r, table, "exp = 100"), count(r, table, "exp = 900")]).toEqual([0, 333]);
  });

  it("says of what it takes what is wanted of it, and of what it leaves nothing", () => {
    const { r } = open();
    const prune = createMovingWindow<{ number: number; exp: number }>({ table, wanted: "number, exp" });
    for (let n = 1; n <= 200; n++) add(r, table, n, n % 100 === 0 ? 100 : 900);
    expect(prune(r, 101)).toEqual([{ number: 100, exp: 100 }]);
    for (let call = 1; call < 32; call++) expect(prune(r, 101)).toEqual([]);
    expect(prune(r, 101)).toEqual([{ number: 200, exp: 100 }]);
  });

  it("comes round again, and does not follow the new rows", () => {
    const { r, prune } = open();
    for (let n = 1; n <= 400; n++) add(r, table, n, n <= 50 ? 200 : 900);
    for (let n = 401; n <= 1000; n++) {
      prune(r, 100);
      add(r, table, n, 900);
    }
    expect(count(r, table, "exp = 200")).toBe(50);
    for (let n = 1001; n <= 1500; n++) {
      prune(r, 300);
      add(r, table, n, 900);
    }
    expect(count(r, table, "exp = 200")).toBe(0);
    expect(count(r, table, "exp = 900")).toBe(1450);
  });

  it("looks at nothing but every 32nd time", () => {
    const { r, prune } = open();
    prune(r, 100);
    add(r, table, 1, 50);
    for (let call = 1; call < 32; call++) prune(r, 100);
    expect(count(r, table, "true")).toBe(1);
    prune(r, 100);
    expect(count(r, table, "true")).toBe(0);
  });

  it("stands in each registry where it stands there", () => {
    const { r, prune } = open();
    for (let call = 0; call < 7; call++) prune(r, 100);
    const other = openFarm().r;
    add(other, table, 1, 50);
    prune(other, 100);
    expect(count(other, table, "true")).toBe(0);
  });
});
