/**
 * Whose turn it is to shake hands. A TLS handshake is a millisecond or more of computing in which nobody is served, so that
 * of many at once each begins in a turn of the event loop of its own, and few are under way at one time.
 *
 * Waiting costs a connection nothing but its ClientHello, which is read while it waits: who sends none, or one byte at a time,
 * never takes a turn, and who leaves is noticed. Networks take turns, so that one that sends many does not keep out the
 * others. A handshake that waits for its peer gives back its place soon, or silent peers would hold all of them; how many
 * are unfinished is limited all the same, for each network and in all, because they could be finished in one moment.
 */
import type { Socket } from "node:net";

/** The order of handshakes. */
export interface Handshakes {
  /** Queues a connection; `begin` is called when its turn has come, with what was read put back. */
  queue(socket: Socket, network: string, begin: () => void): void;
  /** The handshake of this connection is over. One that ends by closing the connection is noticed. */
  finish(socket: Socket): void;
  close(): void;
}

/** How handshakes are let through. */
export interface HandshakeOptions {
  /** Handshakes that are worked on at one time. */
  readonly most: number;
  /** Whether others are served, for whom there is to be a pause. */
  readonly isServing: () => boolean;
  /** Told of a handshake that was ended because too many were unfinished. */
  readonly ended: (socket: Socket) => void;
}

interface Entry {
  readonly socket: Socket;
  readonly network: string;
  readonly begin: () => void;
  readonly read: (chunk: Buffer) => void;
  readonly end: () => void;
  hello: Buffer;
  state: "reading" | "waiting" | "working" | "late" | "over";
  timer?: NodeJS.Timeout;
}

/** The connections of one network. */
interface Line {
  readonly waiting: Set<Entry>;
  /** Begun and not over. */
  unfinished: number;
}

/**
 * How long a handshake keeps its place while its peer says nothing. Far peers take longer, all of them, and are to wait for
 * their own answers alone: this many milliseconds for each of the places is how fast handshakes with them begin.
 */
const patienceMilliseconds = 5;
/** Handshakes that have begun and are not over. */
const mostUnfinished = 512;
const mostUnfinishedOfNetwork = 64;
/** Of a ClientHello and whatever is sent with it; records hold at most 16 KiB (RFC 8446, section 5.1). */
const mostHelloBytes = 5 + 16_384;
const recordHeadBytes = 5;
const handshakeRecord = 22;
/** The idle time that there is to be for a time in which the event loop was busy, while others are served. */
const idleShare = 0.5;
/** Shorter pauses than a timer can make are saved up, and one that is due ends after this. */
const shortestPause = 1;
const longestPause = 10;
/** Milliseconds over which idle time is counted. */
const longestWindow = 100;

/** Opens the order of handshakes. */
export function openHandshakes({ most, isServing, ended }: HandshakeOptions): Handshakes {
  const entries = new WeakMap<Socket, Entry>();
  const lines = new Map<string, Line>();
  /** Lines in which somebody may begin, in the order of their turns. */
  const ready = new Set<Line>();
  const late = new Set<Entry>();
  let working = 0;
  let next: NodeJS.Immediate | undefined;
  let pause: NodeJS.Timeout | undefined;
  let isClosed = false;
  /** When the last pause ended. */
  let since = performance.eventLoopUtilization();

  const lineOf = (network: string): Line => {
    let line = lines.get(network);
    if (line === undefined) lines.set(network, (line = { waiting: new Set(), unfinished: 0 }));
    return line;
  };

  const arrange = (network: string, line: Line): void => {
    if (line.waiting.size > 0 && line.unfinished < mostUnfinishedOfNetwork) ready.add(line);
    else ready.delete(line);
    if (line.waiting.size === 0 && line.unfinished === 0) lines.delete(network);
  };

  const schedule = (): void => {
    if (isClosed || next !== undefined || pause !== undefined || ready.size === 0 || working >= most) return;
    const { active, idle } = performance.eventLoopUtilization(since);
    const owed = isServing() ? active * idleShare - idle : 0;
    // hours without a handshake are no credit for what comes then
    if (active + idle > longestWindow) since = performance.eventLoopUtilization();
    if (owed < shortestPause) {
      next = setImmediate(beginNext);
      return;
    }
    pause = setTimeout(
      () => {
        pause = undefined;
        since = performance.eventLoopUtilization();
        schedule();
      },
      Math.min(owed, longestPause),
    );
  };

  const beginNext = (): void => {
    next = undefined;
    const [line] = ready;
    if (line === undefined || working >= most) return;
    const [entry] = line.waiting;
    if (entry === undefined) return;
    // destroyed, and its close not yet told of
    if (entry.socket.destroyed) return leave(entry);
    // to the end of the turns
    ready.delete(line);
    line.waiting.delete(entry);
    line.unfinished++;
    arrange(entry.network, line);
    working++;
    entry.state = "working";
    entry.timer = setTimeout(setAside, patienceMilliseconds, entry);

    putBack(entry);
    entry.begin();
    schedule();
  };

  const setAside = (entry: Entry): void => {
    entry.state = "late";
    working--;
    late.add(entry);
    if (late.size > mostUnfinished) {
      const [oldest] = late;
      ended(oldest!.socket);
      oldest!.socket.destroy();
    }
    schedule();
  };

  const leave = (entry: Entry): void => {
    const { state, network } = entry;
    entry.state = "over";
    if (state === "over" || state === "reading") return;
    const line = lineOf(network);
    line.waiting.delete(entry);
    if (state !== "waiting") line.unfinished--;
    if (state === "working") working--;
    clearTimeout(entry.timer);
    late.delete(entry);
    arrange(network, line);
    schedule();
  };

  return {
    queue(socket, network, begin) {
      const read = (chunk: Buffer): void => {
        const hello = entry.hello.length === 0 ? chunk : Buffer.concat([entry.hello, chunk]);
        entry.hello = hello;
        if (hello[0] !== handshakeRecord || hello.length > mostHelloBytes) return void socket.destroy();
        if (entry.state !== "reading" || hello.length < recordHeadBytes) return;
        const recordBytes = recordHeadBytes + hello.readUInt16BE(3);
        if (recordBytes > mostHelloBytes) return void socket.destroy();
        if (hello.length < recordBytes) return;
        entry.state = "waiting";
        const line = lineOf(network);
        line.waiting.add(entry);
        arrange(network, line);
        schedule();
      };
      const end = (): void => {
        leave(entry);
        socket.destroy();
      };
      const entry: Entry = { socket, network, begin, read, end, hello: Buffer.alloc(0), state: "reading" };
      entries.set(socket, entry);
      socket.on("data", read);
      socket.once("end", end);
      socket.once("close", () => leave(entry));
    },
    finish(socket) {
      const entry = entries.get(socket);
      if (entry !== undefined) leave(entry);
    },
    close() {
      isClosed = true;
      clearImmediate(next);
      clearTimeout(pause);
    },
  };
}

/** Gives the connection back as if nobody had read of it. */
function putBack({ socket, hello, read, end }: Entry): void {
  socket.off("data", read);
  socket.off("end", end);
  socket.pause();
  socket.unshift(hello);
}
