/**
 * The live sessions of this process: found by connection, and by everything that can be taken back (client, project,
 * signing key, token, certificate), so that taking something back finds its sessions without a scan. Each has one timer, first
 * for the warning and then for the end.
 *
 * Knows nothing of why a session ends; it only ends it, with its will or without.
 */
import { nameCertificate } from "../../shared/device-certificate.ts";
import { projectOf } from "./liveness.ts";
import type { Rights, Session } from "./session.ts";

/** What sessions are found by. A `stranger` is an anonymous client, by address, or `*` for all of them. */
export type SessionIndex = "client" | "project" | "kid" | "token" | "certificate" | "stranger";

/** The index of live sessions. */
export interface Sessions {
  readonly size: number;
  open(session: Session): void;
  of(connection: object): Session | undefined;
  /** The sessions under one entry of an index, a copy. */
  by(index: SessionIndex, value: string): Session[];
  count(index: SessionIndex, value: string): number;
  all(): Session[];
  /** Indexes and times a session anew after its rights were replaced. */
  update(session: Session): void;
  /**
   * Ends a session at once. `quiet`: its will is not published, now or later; else it ends as any broken connection.
   */
  close(session: Session, quiet: boolean): void;
  /** Stops all timers; connections stay. */
  stop(): void;
}

/** What happens to a session when a timer fires. */
export interface SessionEvents {
  expiring(session: Session): void;
  expired(session: Session): void;
  /** No timer: its connection is gone. */
  ended?(session: Session): void;
}

/** setTimeout takes 31 bits of milliseconds; longer waits are taken in steps. */
const longestTimer = 2 ** 31 - 1;
/** Timers of one length share a list, which costs more than a timer: they are rounded up to so many milliseconds. */
const timerStep = 100;

interface Entry {
  readonly session: Session;
  /** What it is indexed by; the session may have others by now. */
  rights: Rights;
  timer?: NodeJS.Timeout;
  /** Seconds since 1970; undefined once the warning was given. */
  warnAt: number | undefined;
}

/** Opens the index. `nowSeconds` may have fractions. */
export function openSessions(events: SessionEvents, nowSeconds: () => number): Sessions {
  const entries = new Map<object, Entry>();
  /** Most values have one session. */
  const index: Record<SessionIndex, Map<string, Session | Set<Session>>> = {
    client: new Map(),
    project: new Map(),
    kid: new Map(),
    token: new Map(),
    certificate: new Map(),
    stranger: new Map(),
  };

  const add = (entry: Entry): void => {
    entry.rights = entry.session.rights;
    forEachKey(entry, (name, value) => {
      const known = index[name].get(value);
      if (known === undefined) index[name].set(value, entry.session);
      else if (known instanceof Set) known.add(entry.session);
      else index[name].set(value, new Set([known, entry.session]));
    });
  };
  const remove = (entry: Entry): void => {
    forEachKey(entry, (name, value) => {
      const known = index[name].get(value);
      if (known instanceof Set) known.delete(entry.session);
      if (known === entry.session || (known instanceof Set && known.size === 0)) index[name].delete(value);
    });
  };
  const arm = (entry: Entry): void => {
    clearTimeout(entry.timer);
    const now = nowSeconds();
    const until = entry.warnAt ?? entry.session.rights.expiresAt;
    const milliseconds = Math.ceil(((until - now) * 1000) / timerStep) * timerStep;
    entry.timer = setTimeout(fire, Math.min(Math.max(milliseconds, 0), longestTimer), entry);
    entry.timer.unref();
  };
  const fire = (entry: Entry): void => {
    const now = nowSeconds();
    if (now >= entry.session.rights.expiresAt) {
      events.expired(entry.session);
      return;
    }
    if (entry.warnAt !== undefined && now >= entry.warnAt) {
      entry.warnAt = undefined;
      events.expiring(entry.session);
    }
    arm(entry);
  };
  const forget = (session: Session): void => {
    const entry = entries.get(session.connection);
    if (entry?.session !== session) return;
    clearTimeout(entry.timer);
    remove(entry);
    entries.delete(session.connection);
    session.isClosed = true;
    events.ended?.(session);
  };

  // timers go by the monotonic clock: when the other one is set, every session looks again
  const readDrift = (): number => nowSeconds() - performance.now() / 1000;
  let drift = readDrift();
  const watch = setInterval(() => {
    const seen = readDrift();
    if (Math.abs(seen - drift) < 1) return;
    drift = seen;
    for (const entry of entries.values()) fire(entry);
  }, 500);
  watch.unref();

  return {
    get size() {
      return entries.size;
    },
    open(session) {
      const entry: Entry = { session, rights: session.rights, warnAt: warningTime(session, nowSeconds()) };
      entries.set(session.connection, entry);
      add(entry);
      arm(entry);
      session.connection.conn.on("close", () => forget(session));
    },
    of: (connection) => entries.get(connection)?.session,
    by(name, value) {
      const known = index[name].get(value);
      if (known === undefined) return [];
      return known instanceof Set ? [...known] : [known];
    },
    count(name, value) {
      const known = index[name].get(value);
      return known instanceof Set ? known.size : Number(known !== undefined);
    },
    all: () => [...entries.values()].map((entry) => entry.session),
    update(session) {
      const entry = entries.get(session.connection);
      if (entry?.session !== session) return;
      remove(entry);
      add(entry);
      entry.warnAt = warningTime(session, nowSeconds());
      arm(entry);
    },
    close(session, quiet) {
      if (quiet) session.takeBack();
      else session.isClosed = true;
      session.connection.close();
    },
    stop() {
      clearInterval(watch);
      for (const entry of entries.values()) clearTimeout(entry.timer);
    },
  };
}

/**
 * When to warn of the end: a tenth of the remaining life before it and at least ten seconds, but never more than half
 * of what remains, so that a token of five seconds is not announced as ending when it starts.
 */
function warningTime(session: Session, now: number): number | undefined {
  const { kind, expiresAt } = session.rights;
  if (kind !== "token") return undefined;
  const remaining = Math.max(expiresAt - now, 0);
  return expiresAt - Math.min(Math.max(10, remaining / 10), remaining / 2);
}

function forEachKey({ session, rights }: Entry, each: (name: SessionIndex, value: string) => void): void {
  const { subject, address, certificate } = session.admission;
  const { kind, token } = rights;
  if (kind === "anonymous") {
    each("stranger", "*");
    each("stranger", address);
    return;
  }
  each("client", subject);
  if (certificate !== undefined) each("certificate", nameCertificate(certificate));
  if (token === undefined) return;
  each("project", projectOf(subject));
  each("kid", token.kid);
  for (const hash of token.hashes) each("token", hash);
}
