/** What is done to the list of revoked tokens beside the requests. */
import { setImmediate as turn } from "node:timers/promises";
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { startListWork } from "../../broker/authority/certificates/list-work.ts";
import { createClient, setClientEnabled } from "../../broker/registry/clients.ts";
import { nextTokenId, recordIssued } from "../../broker/registry/issued.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { keptSeconds } from "../../broker/registry/revoked-tokens.ts";
import { NOW, openFarm, type Fixture } from "../registry/fixture.ts";

const lines: Record<string, unknown>[] = [];
const log = pino({ level: "info" }, { write: (line) => lines.push(JSON.parse(line) as Record<string, unknown>) });
let stop: (() => void) | undefined;
afterEach(() => stop?.());

/** A client with tokens of a life of 100 s, disabled, so that a thousand of them are on the list. */
function openDisabled(count: number): Fixture {
  const fixture = openFarm();
  const { r } = fixture;
  createClient(r, { project: "farm", name: "pi", kind: "device" });
  r.change(() => {
    for (let n = 0; n < count; n++) {
      const row = {
        hashes: [`01${n.toString(16).padStart(64, "0")}`],
        clientId: "farm.pi",
        audience: "farm.telemetry",
      };
      recordIssued(r, { ...row, id: nextTokenId(r), kid: "ab", exp: NOW + 100 });
    }
  });
  setClientEnabled(r, "farm.pi", false);
  expect(listed(r)).toBe(Math.min(count, 1000));
  return fixture;
}

function listed(r: Registry): unknown {
  return r.db.prepare(`SELECT count(*) FROM revoked_token`).pluck().get();
}

async function until(isSo: () => boolean): Promise<void> {
  for (let n = 0; n < 200 && !isSo(); n++) await turn();
  expect(isSo()).toBe(true);
}

test("what the last process left is listed at a start, in slices", async () => {
  const { r } = openDisabled(3_500);
  stop = startListWork(r, log);
  expect(listed(r)).toBe(1000);
  await until(() => listed(r) === 3_500);
});

test("what a change leaves is listed after it, and a turn of others comes between", async () => {
  const { r } = openDisabled(2_500);
  stop = startListWork(r, log);
  await until(() => listed(r) === 2_500);
  r.change(() => r.db.exec(`DELETE FROM revoked_token`));
  r.change(() => r.db.exec(`INSERT INTO unlisted (kind, name, bound, position) VALUES ('client', 'farm.pi', 2500, 0)`));
  const seen = new Set<unknown>();
  await until(() => seen.add(listed(r)).has(2_500));
  expect(seen.size).toBeGreaterThan(2);
});

test("what has expired leaves the list after the next change", async () => {
  const { r, clock } = openDisabled(1_000);
  stop = startListWork(r, log);
  clock.now = NOW + 100 + keptSeconds;
  createClient(r, { project: "farm", name: "other", kind: "device" });
  await until(() => listed(r) === 0);
  expect(r.db.prepare(`SELECT count(*) FROM unlisted`).pluck().get()).toBe(0);
});

test("goes on when there is room again after nothing could be written, and says so in the log", async () => {
  const { r } = openDisabled(1_500);
  r.db.pragma("query_only = ON");
  stop = startListWork(r, log);
  await until(() => lines.length > 0);
  expect(lines[0]).toMatchObject({ level: 50, err: { reason: "storage.failed" } });
  r.db.pragma("query_only = OFF");
  createClient(r, { project: "farm", name: "other", kind: "device" });
  await until(() => listed(r) === 1_500);
});

test("ends when it is told to", async () => {
  const { r } = openDisabled(1_500);
  startListWork(r, log)();
  for (let n = 0; n < 20; n++) await turn();
  expect(listed(r)).toBe(1000);
  const end = startListWork(r, log);
  await until(() => listed(r) === 1_500);
  for (let n = 0; n < 20; n++) await turn();
  end();
  r.change(() => r.db.exec(`DELETE FROM revoked_token`));
  r.change(() => r.db.exec(`INSERT INTO unlisted (kind, name, bound, position) VALUES ('client', 'farm.pi', 2500, 0)`));
  for (let n = 0; n < 20; n++) await turn();
  expect(listed(r)).toBe(0);
});
