/** What the gate refuses, on its way into the audit log. */
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { defaultLimits } from "../../broker/gate/limits.ts";
import { noGateMeter } from "../../broker/gate/meter.ts";
import { openReporter, type RefusedAtGate } from "../../broker/gate/report.ts";
import type { Session } from "../../broker/gate/session.ts";
import { recordAtGate } from "../../broker/record-at-gate.ts";
import { findRefusal } from "../../broker/registry/audit.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { refusalRates } from "../../broker/registry/refusals.ts";
import { Refusal, type Reason } from "../../shared/refusal.ts";
import { openFarm } from "../registry/fixture.ts";

interface Told {
  readonly all: RefusedAtGate[];
  refuse(
    reason: Reason,
    connection: { id: string | null; subject?: string },
    topic?: string,
  ): RefusedAtGate | undefined;
}

/** A reporter of a gate that knows the sessions that it is handed; what it tells is remembered. */
function openGate(): Told {
  const all: RefusedAtGate[] = [];
  const subjects = new WeakMap<object, string>();
  const sessionOf = (client: object): Session | undefined => {
    const subject = subjects.get(client);
    return subject === undefined ? undefined : ({ admission: { subject } } as Session);
  };
  const silent = pino({ level: "silent" });
  const { report } = openReporter(silent, noGateMeter, defaultLimits, { refused: (one) => all.push(one), sessionOf });
  return {
    all,
    refuse(reason, { id, subject }, topic) {
      const client = { id, conn: {}, req: { socket: { remoteAddress: "10.0.0.9" }, headers: {} } };
      if (subject !== undefined) subjects.set(client, subject);
      const before = all.length;
      report(new Refusal(reason, "why"), client, "publish", topic);
      return all[before];
    },
  };
}

/** The row of one refusal. */
async function record(refused: RefusedAtGate): Promise<unknown> {
  const { r } = openFarm();
  createClient(r, { project: "farm", name: "pi", kind: "device" });
  recordAtGate(r, refused);
  await r.appendSoon(() => undefined);
  return findRefusal(r, refused.id);
}

describe("a refusal at the gate", () => {
  it("of a session is of its client", async () => {
    const refused = openGate().refuse("publish.topic", { id: "farm.pi:2", subject: "farm.pi" }, "a/b")!;
    expect(await record(refused)).toMatchObject({
      event: "publish.refused",
      actor: "farm.pi",
      subject: "farm.pi",
      project: "farm",
      reason: "publish.topic",
      facts: { address: "10.0.0.9", topic: "a/b", detail: "why" },
    });
  });

  it.each<[what: string, id: string | null, project: string | undefined, claimed: string | undefined]>([
    ["a client", "farm.pi", "farm", "farm.pi"],
    ["a client, with a suffix", "farm.pi:2", "farm", "farm.pi"],
    ["a client that is not there", "farm.none", "farm", "farm.none"],
    ["a client of a project that is not there", "zoo.pi", undefined, "zoo.pi"],
    ["what may be a secret", "QWxhZGRpbjpvcGVuIHNlc2FtZQ.eyJ", undefined, undefined],
    ["nobody", null, undefined, undefined],
    ["an anonymous one", "anonymous:0b1f", undefined, undefined],
  ])("of a stranger who calls itself %s", async (_, id, project, claimed) => {
    const row = await record(openGate().refuse("token.expired", { id })!);
    expect(row).toMatchObject({ actor: "stranger", subject: undefined, project });
    expect((row as { facts: object }).facts).toEqual({
      address: "10.0.0.9",
      detail: "why",
      ...(claimed && { claimed }),
    });
  });

  it("of an anonymous session is a stranger's", () => {
    expect(openGate().refuse("subscribe.filter", { id: "anonymous:1", subject: "" })?.subject).toBeUndefined();
  });

  it("is told of whether or not the log has a line of it, and not when it is the echo of an end", () => {
    const gate = openGate();
    for (let n = 0; n < 500; n++) gate.refuse("token.expired", { id: "farm.pi" });
    expect(gate.all).toHaveLength(500);
    expect(gate.refuse("session.closed", { id: "farm.pi" })).toBeUndefined();
  });

  it("does not fill the log", async () => {
    const { r } = openFarm();
    const gate = openGate();
    for (let n = 0; n < 500; n++) recordAtGate(r, gate.refuse("token.expired", { id: "farm.pi" })!);
    await r.appendSoon(() => undefined);
    expect(r.db.prepare(`SELECT count(*) FROM audit WHERE reason = 'token.expired'`).pluck().get()).toBe(
      refusalRates.strangers.one.burst,
    );
  });
});
