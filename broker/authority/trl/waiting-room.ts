/**
 * Where requests are held until there is news for them: bounded in number, in time, for each requester and for each project.
 *
 * Everybody is asked once after each turn in which the registry changed. Whoever hangs up leaves, and when the authority
 * closes all are let go at once.
 */
import type { Socket } from "node:net";
import type { Registry } from "../../registry/registry.ts";

/** Why the waiting ended. */
export type WaitEnd = "news" | "time" | "gone" | "closing";

/** How many may wait. */
export interface WaitingLimits {
  readonly total: number;
  readonly perRequester: number;
}

/** What is waited for. */
export interface Wait {
  readonly requester: string;
  /** The project of the requester, where it is of one: it gets no place unless more are free than it has. */
  readonly project?: string | undefined;
  readonly milliseconds: number;
  /** What the request came on; a peer that goes closes it. */
  readonly socket: Socket;
  /** Asked after each change; cheap. */
  hasNews(): boolean;
}

/** The room. */
export interface WaitingRoom {
  /** Resolves when the waiting ends and never rejects; undefined where there is no room for it. */
  enter(wait: Wait): Promise<WaitEnd> | undefined;
  /** Lets all go; nobody enters any more. */
  close(): void;
}

/** Three rooms, because clients are many and must not take the places of those who have to hear of everything at once. */
export interface WaitingRooms {
  /** For brokers and the administrator. */
  readonly followers: WaitingRoom;
  /** For resource servers. */
  readonly apis: WaitingRoom;
  readonly clients: WaitingRoom;
  close(): void;
}

/** What applies to each room. Every broker has one request waiting; a thousand are a quarter of a megabyte. */
export const waitingLimits: WaitingLimits = { total: 1000, perRequester: 8 };
/** A resource server may run in many processes, which share its credential. */
const apiLimits: WaitingLimits = { ...waitingLimits, perRequester: 64 };

interface Waiter {
  readonly wait: Wait;
  end(why: WaitEnd): void;
}

/** Opens the rooms of an authority. */
export function openWaitingRooms(registry: Registry): WaitingRooms {
  const [followers, clients] = [openWaitingRoom(registry), openWaitingRoom(registry)];
  const apis = openWaitingRoom(registry, apiLimits);
  return {
    followers,
    apis,
    clients,
    close() {
      for (const room of [followers, apis, clients]) room.close();
    },
  };
}

/** Opens a room on a registry. */
export function openWaitingRoom(registry: Registry, limits: WaitingLimits = waitingLimits): WaitingRoom {
  const waiters = new Set<Waiter>();
  const perRequester = new Map<string, number>();
  const perProject = new Map<string, number>();
  /** A response that waits for its turn on a connection is not told of the end of it, so the connection is listened to. */
  const perSocket = new WeakMap<Socket, Set<Waiter>>();
  let isAsking = false;
  let isClosed = false;

  function askAll(): void {
    isAsking = false;
    for (const waiter of waiters) if (hasNews(waiter.wait)) waiter.end("news");
  }

  const stopListening = registry.onChange(() => {
    if (isAsking || waiters.size === 0) return;
    isAsking = true;
    setImmediate(askAll);
  });

  function count({ requester, project }: Wait, by: 1 | -1): void {
    move(perRequester, requester, by);
    if (project !== undefined) move(perProject, project, by);
  }

  /** One project alone has half of the room, two of them a third each, and whoever comes next finds places that are free. */
  function isFull({ requester, project }: Wait): boolean {
    const free = limits.total - waiters.size;
    const taken = project === undefined ? 0 : (perProject.get(project) ?? 0);
    return free <= taken || (perRequester.get(requester) ?? 0) >= limits.perRequester;
  }

  /** Those of one connection; all of them leave when it closes. */
  function waitersOn(socket: Socket): Set<Waiter> {
    const known = perSocket.get(socket);
    if (known !== undefined) return known;
    const those = new Set<Waiter>();
    perSocket.set(socket, those);
    socket.once("close", () => {
      for (const waiter of those) waiter.end("gone");
    });
    return those;
  }

  return {
    enter(wait) {
      const { socket, milliseconds } = wait;
      if (isClosed || isFull(wait)) return undefined;
      return new Promise((resolve) => {
        const beside = waitersOn(socket);
        const timer = setTimeout(() => waiter.end("time"), milliseconds);
        const waiter: Waiter = {
          wait,
          end(why) {
            if (!waiters.delete(waiter)) return;
            count(wait, -1);
            clearTimeout(timer);
            beside.delete(waiter);
            resolve(why);
          },
        };
        waiters.add(waiter);
        count(wait, 1);
        beside.add(waiter);
        if (socket.destroyed) waiter.end("gone");
      });
    },
    close() {
      isClosed = true;
      stopListening();
      for (const waiter of waiters) waiter.end("closing");
    },
  };
}

function move(counts: Map<string, number>, name: string, by: 1 | -1): void {
  const now = (counts.get(name) ?? 0) + by;
  if (now === 0) counts.delete(name);
  else counts.set(name, now);
}

/** What fails is found by whoever was waiting, when it looks again. */
function hasNews(wait: Wait): boolean {
  try {
    return wait.hasNews();
  } catch {
    return true;
  }
}
