/**
 * Live sessions of a fleet in this process, and the calls that end them. Calls and sessions are in one process, so that one
 * clock says when a call was answered and when a session saw its end.
 */
import { createPrivateKey } from "node:crypto";
import type { Socket } from "node:net";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { toBase64url } from "../../../shared/base64url.ts";
import { createSigner } from "../../../shared/es256.ts";
import { openConnection, openContext, type Door, type Presented } from "../connect-load.ts";
import { HttpConnection } from "../http-load.ts";
import { runWide } from "../rounds.ts";
import type { Member } from "./fleet.ts";

/** Who connects where, and where the authority is. */
export interface SessionsSpec {
  readonly mqttPort: number;
  readonly mqttsPort: number;
  readonly httpPort: number;
  readonly caPem: string;
  readonly members: readonly Member[];
}

/** One call to the authority, and the client ids of those whose access it takes back. */
export interface Revocation {
  readonly request: Uint8Array;
  readonly clientIds: readonly string[];
}

/** What came of a call. Milliseconds. */
export interface Ended {
  /** From the request to the answer. */
  readonly call: number;
  /** From the answer to the end of each session; below zero where a session ended first. */
  readonly after: readonly number[];
  /** Sessions that were still open when they were waited for no longer. */
  readonly missing: number;
}

interface Session {
  readonly socket: Socket;
  endedAt: number | undefined;
}

const patienceMs = 10_000;

/** Connected and accepted. */
export class Sessions {
  readonly #authority: HttpConnection;
  readonly #sessions: ReadonlyMap<string, Session>;
  /** Those whose end is waited for, and what is to be done when none of them is left. */
  readonly #awaited = new Set<Session>();
  #whenOver: () => void = () => {};

  private constructor(authority: HttpConnection, sessions: ReadonlyMap<string, Session>) {
    this.#authority = authority;
    this.#sessions = sessions;
    for (const session of sessions.values()) {
      const end = (): void => {
        session.endedAt ??= performance.now();
        if (this.#awaited.delete(session) && this.#awaited.size === 0) this.#whenOver();
      };
      session.socket.on("end", end);
      session.socket.on("close", end);
      session.socket.resume();
    }
  }

  /** Connects all, so many at a time. Rejects unless every one is accepted. */
  static async open(spec: SessionsSpec, atATime: number): Promise<Sessions> {
    const sessions = new Map<string, Session>();
    await runWide(spec.members.length, atATime, async (index) => {
      const member = spec.members[index]!;
      const [door, presented] = present(spec, member);
      sessions.set(member.clientId, { socket: await openConnection(door, presented), endedAt: undefined });
    });
    const { httpPort: port, caPem } = spec;
    return new Sessions(await HttpConnection.open({ port, caPem }), sessions);
  }

  /** One call after the other, each so long after what the one before it ended was gone. */
  async revoke(revocations: readonly Revocation[], pauseMs: number): Promise<Ended[]> {
    const all: Ended[] = [];
    const openBefore = this.#countOpen();
    for (const { request, clientIds } of revocations) {
      const concerned = clientIds.map((id) => this.#sessions.get(id)!);
      const over = new Promise<void>((resolve) => (this.#whenOver = resolve));
      for (const session of concerned) this.#awaited.add(session);
      const startedAt = performance.now();
      await this.#authority.ask(Buffer.from(request));
      const answeredAt = performance.now();
      const patience = new AbortController();
      await Promise.race([over, sleep(patienceMs, undefined, { signal: patience.signal }).catch(() => {})]);
      patience.abort();
      this.#awaited.clear();
      const ended = concerned.filter(({ endedAt }) => endedAt !== undefined);
      const after = ended.map(({ endedAt }) => endedAt! - answeredAt);
      all.push({ call: answeredAt - startedAt, after, missing: concerned.length - ended.length });
      await sleep(pauseMs);
    }
    const ended = all.reduce((sum, { after }) => sum + after.length, 0);
    if (openBefore - this.#countOpen() !== ended)
      throw new Error("a session was ended whose access was not taken back");
    return all;
  }

  close(): void {
    this.#authority.close();
    for (const { socket } of this.#sessions.values()) socket.destroy();
  }

  #countOpen(): number {
    return [...this.#sessions.values()].filter(({ endedAt }) => endedAt === undefined).length;
  }
}

/** How a device connects. */
export function present(spec: Omit<SessionsSpec, "httpPort" | "members">, member: Member): [Door, Presented] {
  const { mqttPort, mqttsPort, caPem } = spec;
  const { kind, clientId, token, certificate, keyPem } = member;
  if (kind === "bearer") {
    return [{ port: mqttPort }, { clientId, username: "bearer", password: toBase64url(token!.bytes) }];
  }
  const door = { port: mqttsPort, context: openContext(caPem, certificate?.identity) };
  if (kind === "certified") return [door, { clientId }];
  return [door, { clientId, token: token!.bytes, signer: createSigner("", createPrivateKey(keyPem!)) }];
}
