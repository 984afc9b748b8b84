/**
 * Staying connected: a session after another, each with a credential fetched for it, and the token renewed inside the
 * session before it expires (RFC 9431, section 2.2.2: a new token on `authz-info`).
 *
 * A no and a silence are different events with different patience. The failure count starts again only after a session
 * that held, and every wait is jittered, so that a fleet does not come back as one.
 */
import { EventEmitter } from "node:events";
import { AUTHZ_INFO, covers, SESSION_NEWS } from "../shared/topic.ts";
import type { ServerClock } from "./clock.ts";
import { AgentFailure, toFailure } from "./failure.ts";
import { pause } from "./pause.ts";
import * as schedule from "./schedule.ts";
import type { Message, PublishOptions, Session, SessionNews, SessionOptions } from "./session.ts";
import type { HeldToken, TokenSource } from "./tokens.ts";

/** What an agent tells about itself. */
export interface ConnectionEvents {
  connected: [];
  /** The session ended; `failure` says why. */
  disconnected: [failure: AgentFailure];
  /** The authority or the broker said no: to a token, a CONNECT, a subscription or a renewal. */
  refused: [failure: AgentFailure];
  /** Nobody answered. */
  unreachable: [failure: AgentFailure];
  /** The next attempt comes after this many milliseconds. */
  waiting: [delayMs: number];
  /** The session goes on under a new token; authority time. */
  renewed: [expiresAtSeconds: number];
  /** News of this session from the broker. */
  news: [news: SessionNews];
}

/** When to try again: see {@link ConnectionOptions.retry}. */
export type Retry = "always" | "once-connected" | "never";

/** Who hears of messages and news. */
export type Hearing = Pick<SessionOptions, "onMessage" | "onNews">;

/** What a connection is kept with. */
export interface ConnectionOptions {
  readonly tokens: TokenSource;
  readonly clock: ServerClock;
  /** Opens one session with this token. */
  readonly open: (token: Uint8Array, hearing: Hearing) => Promise<Session>;
  /** Try again when a session ends or cannot be opened; or only once it was open. Default `always`. */
  readonly retry?: Retry;
  /** In [0, 1). Default Math.random. */
  readonly random?: () => number;
}

/** Hears the messages of one subscription. */
export type MessageListener = (message: Message) => void;

/** A client that stays connected. */
export interface Connection {
  readonly events: EventEmitter<ConnectionEvents>;
  /** Resolves when first connected. While it tries again, failures are events and do not reject. */
  connect(): Promise<void>;
  publish(topic: string, payload: Uint8Array | string, options?: PublishOptions): Promise<void>;
  /** Subscribes now and again in every later session. */
  subscribe(filter: string, listener: MessageListener, qos?: 0 | 1 | 2): Promise<void>;
  close(): Promise<void>;
}

interface Subscription {
  readonly listeners: Set<MessageListener>;
  qos: 0 | 1 | 2;
}

/** Prepares a connection; nothing happens before {@link Connection.connect}. */
export function createConnection(options: ConnectionOptions): Connection {
  const { tokens, clock, retry = "always", random = Math.random } = options;
  const events = new EventEmitter<ConnectionEvents>();
  const subscriptions = new Map<string, Subscription>();
  const stop = new AbortController();
  let session: Session | undefined;
  let running: Promise<void> | undefined;
  let renewNow: (() => void) | undefined;

  const hearing: Hearing = {
    onMessage(message) {
      for (const [filter, { listeners }] of subscriptions) {
        if (covers(filter, message.topic)) for (const listener of listeners) listener(message);
      }
    },
    onNews(news) {
      events.emit("news", news);
      if (news["event"] === "expiring") renewNow?.();
    },
  };

  /** One session; a cached token that is refused gets one successor, at once. */
  const openOne = async (): Promise<{ opened: Session; token: HeldToken }> => {
    const token = await tokens.current();
    try {
      return { opened: await options.open(token.token, hearing), token };
    } catch (error) {
      if (!isConnackRefusal(error)) throw error;
      tokens.discard();
      if (!token.fromCache) throw error;
      const next = await tokens.current();
      return { opened: await options.open(next.token, hearing), token: next };
    }
  };

  const greet = async (opened: Session): Promise<void> => {
    const wanted: [string, 0 | 1 | 2][] = [[SESSION_NEWS, 0]];
    for (const [filter, { qos }] of subscriptions) wanted.push([filter, qos]);
    await Promise.all(
      wanted.map(([filter, qos]) =>
        opened.subscribe(filter, qos).catch((error: unknown) => {
          const failure = toFailure(error, `subscribe ${filter}`);
          if (failure.kind === "refused" && filter !== SESSION_NEWS) events.emit("refused", failure);
        }),
      ),
    );
  };

  /** Renews the token of a session for as long as the session lives. */
  const keepRenewed = async (opened: Session, first: HeldToken): Promise<void> => {
    const over = new AbortController();
    void opened.closed.then(() => over.abort());
    let token = first;
    let failures = 0;
    while (!over.signal.aborted) {
      const remaining = token.expiresAtSeconds - clock.nowSeconds();
      const patience = schedule.nextAttemptDelayMs(failures, schedule.offlineBackoff, random());
      const delayMs =
        failures === 0
          ? schedule.renewalDelayMs(token.lifetimeSeconds, remaining, random())
          : Math.min(patience, Math.max(remaining * 250, 1_000));
      const cappedMs = schedule.capTimerMs(delayMs);
      const called = await pause(cappedMs, over.signal, (wake) => (renewNow = wake));
      renewNow = undefined;
      if (over.signal.aborted) return;
      if (!called && cappedMs < delayMs) continue;
      try {
        token = await tokens.renew();
        await opened.publish(AUTHZ_INFO, token.token, { qos: 1 });
        failures = 0;
        events.emit("renewed", token.expiresAtSeconds);
      } catch (error) {
        failures++;
        if (!over.signal.aborted) tell(toFailure(error, "renewal"));
      }
    }
  };

  const tell = (failure: AgentFailure): void => {
    events.emit(failure.kind === "refused" ? "refused" : "unreachable", failure);
  };

  /** Runs sessions until closed; `onFirst` hears of the first success, or without retry of the first failure. */
  const run = async (onFirst: (failure?: AgentFailure) => void): Promise<void> => {
    let failures = 0;
    let isFirst = true;
    while (!stop.signal.aborted) {
      let failure: AgentFailure;
      try {
        const { opened, token } = await openOne();
        const openedMs = performance.now();
        session = opened;
        if (stop.signal.aborted) return await opened.close();
        void keepRenewed(opened, token);
        await greet(opened);
        events.emit("connected");
        onFirst();
        isFirst = false;
        failure = await opened.closed;
        session = undefined;
        failures = schedule.failuresAfterSession(failures, performance.now() - openedMs);
        if (!stop.signal.aborted) events.emit("disconnected", failure);
      } catch (error) {
        // whatever went wrong after it was open, it is not to live beside its successor
        const left = session;
        session = undefined;
        void left?.close().catch(() => undefined);
        failure = toFailure(error, "connect");
        failures++;
        tell(failure);
      }
      if (retry === "never" || (retry === "once-connected" && isFirst)) return onFirst(failure);
      if (stop.signal.aborted) return;
      const backoff = failure.kind === "refused" ? schedule.refusedBackoff : schedule.offlineBackoff;
      const delayMs = schedule.nextAttemptDelayMs(failures, backoff, random(), failure.retryAfterSeconds);
      events.emit("waiting", delayMs);
      await pause(delayMs, stop.signal);
    }
  };

  const connected = (): Session => {
    if (session === undefined) throw new AgentFailure("not-connected", "not connected");
    return session;
  };

  return {
    events,
    connect: () =>
      new Promise((resolve, reject) => {
        if (running !== undefined) throw new TypeError("connect was called before");
        running = run((failure) => (failure === undefined ? resolve() : reject(failure)));
        void running.then(() => reject(new AgentFailure("not-connected", "closed before it was connected")), reject);
      }),
    publish: async (topic, payload, publishOptions) => connected().publish(topic, payload, publishOptions),
    async subscribe(filter, listener, qos = 0) {
      const known = subscriptions.get(filter);
      const subscription = known ?? { listeners: new Set<MessageListener>(), qos };
      subscription.listeners.add(listener);
      if (known !== undefined && known.qos >= qos) return;
      subscription.qos = qos;
      subscriptions.set(filter, subscription);
      try {
        if (session !== undefined) await session.subscribe(filter, qos);
      } catch (error) {
        if (known === undefined) subscriptions.delete(filter);
        throw error;
      }
    },
    async close() {
      stop.abort();
      await session?.close();
      await running;
    },
  };
}

function isConnackRefusal(error: unknown): boolean {
  return error instanceof AgentFailure && error.code?.startsWith("connack-") === true;
}
