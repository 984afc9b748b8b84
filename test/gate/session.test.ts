/** A session's decisions and its timer, without a broker. */
import { EventEmitter } from "node:events";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Connection } from "../../broker/gate/connection.ts";
import { BoundedMap } from "../../broker/gate/bounded-map.ts";
import { Session } from "../../broker/gate/session.ts";
import type { Admission } from "../../broker/gate/session.ts";
import { openSessions } from "../../broker/gate/sessions.ts";
import { parsePermission } from "../../shared/scope.ts";

function makeConnection(): Connection {
  const conn = new EventEmitter();
  return { conn, close: () => conn.emit("close"), subscriptions: {} } as unknown as Connection;
}

function makeSession(allow: string[], admission: Partial<Admission> = {}): Session {
  return new Session(makeConnection(), {
    kind: "token",
    clientId: "acme.a",
    subject: "acme.a",
    address: "here",
    grants: allow.map(parsePermission),
    expiresAt: 1000,
    ...admission,
  });
}

describe("may", () => {
  it("answers a repeat as it did, and anew when the rights change", () => {
    const session = makeSession(["pub:a/+", "sub:b/#"]);
    for (let i = 0; i < 2; i++) {
      expect(session.may("pub", "a/1")).toBe(true);
      expect(session.may("sub", "a/1")).toBe(false);
      expect(session.may("sub", "b")).toBe(true);
    }
    session.replace({ kind: "token", grants: [parsePermission("sub:a/1")], expiresAt: 1000 });
    expect(session.may("pub", "a/1")).toBe(false);
    expect(session.may("sub", "a/1")).toBe(true);
    session.isClosed = true;
    expect(session.refusalOf("sub", "a/1")).toBe("session.closed");
  });

  it("gives the same answer however many topics were asked in between", () => {
    const session = makeSession(["pub:a/#"]);
    const topic = fc.constantFrom("a", "b").chain((first) => fc.nat(2000).map((n) => `${first}/${n}`));
    expect(() =>
      fc.assert(
        fc.property(fc.array(topic, { maxLength: 600 }), (topics) =>
          topics.every((name) => session.may("pub", name) === name.startsWith("a")),
        ),
        { numRuns: 20, seed: 1 },
      ),
    ).not.toThrow();
  });
});

describe("sessions", () => {
  let now = 0;
  beforeEach(() => {
    now = 0;
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const pass = (seconds: number): void => {
    now += seconds;
    vi.advanceTimersByTime(seconds * 1000);
  };

  it.each([
    ["an hour", 3600, 3240],
    ["a minute", 60, 50],
    ["five seconds", 5, 2.5],
  ])("warn of the end of %s in time", (_name, life, warnedAt) => {
    const [expiring, expired] = [vi.fn<() => void>(), vi.fn<() => void>()];
    const sessions = openSessions({ expiring, expired }, () => now);
    sessions.open(makeSession([], { expiresAt: life }));
    pass(warnedAt - 0.5);
    expect(expiring).not.toHaveBeenCalled();
    pass(0.5);
    expect(expiring).toHaveBeenCalledOnce();
    pass(life - warnedAt - 0.5);
    expect(expired).not.toHaveBeenCalled();
    pass(0.5);
    expect(expired).toHaveBeenCalledOnce();
  });

  it("wait longer than a timer can", () => {
    const expired = vi.fn<() => void>();
    const sessions = openSessions({ expiring: vi.fn<() => void>(), expired }, () => now);
    const life = 90 * 86_400;
    sessions.open(makeSession([], { kind: "roles", expiresAt: life }));
    for (let day = 0; day < 89; day++) pass(86_400);
    expect(expired).not.toHaveBeenCalled();
    pass(86_400);
    expect(expired).toHaveBeenCalledOnce();
  });

  it("are found until their connection closes", () => {
    const sessions = openSessions({ expiring: vi.fn<() => void>(), expired: vi.fn<() => void>() }, () => now);
    const session = makeSession([]);
    sessions.open(session);
    expect(sessions.by("client", "acme.a")).toEqual([session]);
    expect(sessions.of(session.connection)).toBe(session);
    sessions.close(session, true);
    expect([session.connection._disconnected, session.isTakenBack]).toEqual([true, true]);
    expect([sessions.size, sessions.count("client", "acme.a")]).toEqual([0, 0]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

it("a bounded map keeps what was used last", () => {
  const map = new BoundedMap<string, number>(2);
  map.set("a", 1);
  map.set("b", 2);
  map.get("a");
  map.set("c", 3);
  expect([map.get("a"), map.get("b"), map.get("c"), map.size]).toEqual([1, undefined, 3, 2]);
});
