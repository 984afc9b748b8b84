/** Staying connected, against sessions and tokens that do as they are told. No network, no clock. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createConnection, type Connection, type Hearing, type Retry } from "../../agent/connection.ts";
import { AgentFailure } from "../../agent/failure.ts";
import type { Session } from "../../agent/session.ts";
import type { HeldToken, TokenSource } from "../../agent/tokens.ts";

const silence = new AgentFailure("unreachable", "connection refused");
const badToken = new AgentFailure("refused", "the broker does not accept the token", { code: "connack-4" });

/** One session in the test's hands. */
interface FakeSession extends Session {
  readonly published: [topic: string, payload: Uint8Array | string][];
  readonly subscribed: string[];
  readonly token: string;
  readonly hearing: Hearing;
  end(failure?: AgentFailure): void;
  refusePublish?: AgentFailure;
}

/** A world of sessions: `answers` are consumed by attempts, a failure refuses, undefined admits. */
function createWorld(options: { retry?: Retry; lifetimeSeconds?: number; cached?: boolean } = {}) {
  const { lifetimeSeconds = 100 } = options;
  const answers: (AgentFailure | undefined)[] = [];
  const sessions: FakeSession[] = [];
  const log: string[] = [];
  let serial = 0;
  let cached: HeldToken | undefined;
  const now = (): number => Math.floor(Date.now() / 1000);
  const renew = vi.fn<() => Promise<HeldToken>>(async (): Promise<HeldToken> => {
    const expiresAtSeconds = now() + lifetimeSeconds;
    cached = { token: Buffer.from(`token ${++serial}`), expiresAtSeconds, lifetimeSeconds, fromCache: true };
    return { ...cached, fromCache: false };
  });
  const tokens: TokenSource = {
    renew,
    current: async () => (cached !== undefined && cached.expiresAtSeconds > now() ? cached : renew()),
    discard: () => (cached = undefined),
  };
  const open = async (token: Uint8Array, hearing: Hearing): Promise<Session> => {
    const answer = answers.shift();
    log.push(`${Math.round(performance.now())} ${Buffer.from(token).toString()}${answer === undefined ? "" : " no"}`);
    if (answer !== undefined) throw answer;
    let end!: (failure: AgentFailure) => void;
    const session: FakeSession = {
      token: Buffer.from(token).toString(),
      published: [],
      subscribed: [],
      hearing,
      closed: new Promise((resolve) => (end = resolve)),
      end: (failure = silence) => end(failure),
      async publish(topic, payload) {
        if (session.refusePublish !== undefined) throw session.refusePublish;
        session.published.push([topic, payload]);
      },
      subscribe: async (filter) => void session.subscribed.push(filter),
      close: async () => end(new AgentFailure("unreachable", "closed")),
    };
    sessions.push(session);
    return session;
  };
  const connection: Connection = createConnection({
    tokens,
    clock: { nowSeconds: now, learn: () => undefined, remember: () => ({ offsetSeconds: 0, lastSeenSeconds: 0 }) },
    open,
    random: () => 0.5,
    ...(options.retry !== undefined && { retry: options.retry }),
  });
  const told: string[] = [];
  for (const event of ["connected", "disconnected", "refused", "unreachable", "waiting", "renewed"] as const) {
    connection.events.on(event, (fact?: unknown) => told.push(typeof fact === "number" ? `${event} ${fact}` : event));
  }
  return { connection, answers, sessions, tokens, renew, log, told };
}

beforeEach(() => {
  vi.useFakeTimers({ now: 1_790_000_000_000 });
});
afterEach(() => vi.useRealTimers());

describe("connecting", () => {
  it("waits longer with each silence and connects when someone answers", async () => {
    const { connection, answers, told } = createWorld();
    answers.push(silence, silence, silence);
    const connected = connection.connect();
    await vi.runOnlyPendingTimersAsync();
    await vi.runOnlyPendingTimersAsync();
    await vi.runOnlyPendingTimersAsync();
    await connected;
    expect(told.filter((line) => line !== "unreachable")).toEqual([
      "waiting 550",
      "waiting 1050",
      "waiting 2050",
      "connected",
    ]);
    await connection.close();
  });

  it("rejects with the first failure when it is not to try again", async () => {
    const { connection, answers } = createWorld({ retry: "never" });
    answers.push(silence);
    await expect(connection.connect()).rejects.toBe(silence);
  });

  it("replaces a cached token that is refused at once, and does not present it again", async () => {
    const { connection, answers, sessions, tokens } = createWorld();
    await tokens.renew();
    answers.push(badToken);
    await connection.connect();
    expect(sessions.map(({ token }) => token)).toEqual(["token 2"]);
    await connection.close();
  });

  it("asks for a new credential for each attempt after a refusal", async () => {
    const { connection, answers, log } = createWorld();
    answers.push(badToken, badToken);
    const connected = connection.connect();
    await vi.runOnlyPendingTimersAsync();
    await vi.runOnlyPendingTimersAsync();
    await connected;
    expect(log.map((line) => line.replace(/^\d+ /, ""))).toEqual(["token 1 no", "token 2 no", "token 3"]);
    await connection.close();
  });

  it("ends while it waits when it is closed", async () => {
    const { connection, answers } = createWorld();
    answers.push(silence, silence);
    const connected = connection.connect();
    await vi.advanceTimersByTimeAsync(0);
    await connection.close();
    await expect(connected).rejects.toThrow("closed before it was connected");
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe("reconnecting", () => {
  it("does not forget its failures for a session that was ended at once", async () => {
    const { connection, sessions, told } = createWorld();
    await connection.connect();
    for (const expected of [550, 1050, 2050]) {
      sessions.at(-1)!.end();
      await vi.advanceTimersByTimeAsync(0);
      expect(told.at(-1)).toBe(`waiting ${expected}`);
      await vi.advanceTimersByTimeAsync(expected);
    }
    await vi.advanceTimersByTimeAsync(10_000);
    sessions.at(-1)!.end();
    await vi.advanceTimersByTimeAsync(0);
    expect(told.at(-1)).toBe("waiting 550");
    await connection.close();
  });

  it("subscribes again, and delivers to the listeners of the filters that match", async () => {
    const { connection, sessions } = createWorld();
    const heard: string[] = [];
    await connection.connect();
    await connection.subscribe("acme/+/state", ({ topic }) => heard.push(topic));
    sessions[0]!.end();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sessions[1]!.subscribed).toEqual(["$postern/session", "acme/+/state"]);
    for (const topic of ["acme/pump/state", "acme/pump/other"]) {
      sessions[1]!.hearing.onMessage({ topic, payload: Buffer.of(), qos: 0, retain: false });
    }
    expect(heard).toEqual(["acme/pump/state"]);
    await connection.close();
  });

  it("refuses to publish while it is not connected", async () => {
    const { connection, sessions, answers } = createWorld();
    await connection.connect();
    answers.push(silence);
    sessions[0]!.end();
    await vi.advanceTimersByTimeAsync(0);
    await expect(connection.publish("a", "b")).rejects.toMatchObject({ kind: "not-connected" });
    await connection.close();
  });
});

describe("renewing", () => {
  it("publishes a new token on authz-info well before the end, again and again", async () => {
    const { connection, sessions, told } = createWorld();
    await connection.connect();
    const started = Date.now() / 1000;
    await vi.advanceTimersByTimeAsync(67_500);
    await vi.advanceTimersByTimeAsync(67_500);
    expect(sessions).toHaveLength(1);
    expect(sessions[0]!.published.map(([topic, payload]) => `${topic} ${Buffer.from(payload).toString()}`)).toEqual([
      "authz-info token 2",
      "authz-info token 3",
    ]);
    expect(told.slice(1)).toEqual([`renewed ${started + 167}`, `renewed ${started + 235}`]);
    await connection.close();
  });

  it("tries again while there is life left, when the authority is silent", async () => {
    const { connection, sessions, renew, told } = createWorld();
    await connection.connect();
    renew.mockRejectedValueOnce(silence).mockRejectedValueOnce(silence);
    await vi.advanceTimersByTimeAsync(67_500 + 550 + 1_050);
    expect(told).toEqual(["connected", "unreachable", "unreachable", expect.stringMatching(/^renewed/)]);
    expect(sessions[0]!.published).toHaveLength(1);
    await connection.close();
  });

  it("renews when the broker says that the session is expiring, whatever it thinks itself", async () => {
    const { connection, sessions } = createWorld({ lifetimeSeconds: 1_000_000 });
    await connection.connect();
    sessions[0]!.hearing.onNews({ event: "expiring", exp: 5 });
    await vi.advanceTimersByTimeAsync(0);
    expect(sessions[0]!.published).toHaveLength(1);
    await connection.close();
  });

  it("stops with the session", async () => {
    const { connection, renew } = createWorld();
    await connection.connect();
    await connection.close();
    await vi.advanceTimersByTimeAsync(1_000_000);
    expect(renew).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(0);
  });
});
