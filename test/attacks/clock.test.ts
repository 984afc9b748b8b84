/** What a clock that is set, back or forward, does to sessions: a small machine starts without the time and learns it later. */
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Connection } from "../../broker/gate/connection.ts";
import { Session } from "../../broker/gate/session.ts";
import { openSessions } from "../../broker/gate/sessions.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function openOne(lifeSeconds: number) {
  const clock = { ahead: 0 };
  const now = (): number => Date.now() / 1000 + clock.ahead;
  const ended: Session[] = [];
  const sessions = openSessions({ expiring: () => {}, expired: (session) => ended.push(session) }, now);
  const connection = { conn: new PassThrough(), closed: false, subscriptions: {} } as unknown as Connection;
  const expiresAt = now() + lifeSeconds;
  sessions.open(
    new Session(connection, { kind: "token", clientId: "a.b", subject: "a.b", address: "::1", grants: [], expiresAt }),
  );
  return { clock, ended, sessions };
}

describe("an idle session", () => {
  it("ends within a second when the clock is set past its end", () => {
    const { clock, ended, sessions } = openOne(600);
    clock.ahead += 3600;
    vi.advanceTimersByTime(1000);
    expect(ended).toHaveLength(1);
    sessions.stop();
  });

  it("lasts until its end by the clock when that is set back", () => {
    const { clock, ended, sessions } = openOne(600);
    clock.ahead -= 3600;
    vi.advanceTimersByTime(4_199_000);
    expect(ended).toHaveLength(0);
    vi.advanceTimersByTime(2000);
    expect(ended).toHaveLength(1);
    sessions.stop();
  });
});
