/**
 * What lies between a broker and its authority: an address under which the authority is known, and what may happen on the way
 * from there. The authority itself listens on another address of this machine.
 */
import { once } from "node:events";
import { createServer, connect, type Server, type Socket } from "node:net";
import { findPorts, openInstallation, type Installation, type Ports } from "../fixture.ts";
import { Desk } from "./room.ts";

/** Where bytes go. */
export interface Place {
  readonly host: string;
  readonly port: number;
}

/** How bytes go: as they come, not at all, into the void, or a few at a time. */
export type Way = "through" | "cut" | "void" | "slow";

const known = "127.0.0.1";
const own = "127.0.0.2";
/** Of the slow way: so many bytes, and then again after so many milliseconds. */
const slowBytes = 700;
const slowMs = 20;

/** One connection after the other from the known address to the place. */
export class Wire {
  /** Bytes that went into the void. */
  swallowed = 0;
  #way: Way = "through";
  #place: Place;
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  constructor(place: Place) {
    this.#place = place;
    this.#server = createServer({ allowHalfOpen: false }, (socket) => this.#take(socket));
  }

  async listen(port: number): Promise<void> {
    this.#server.listen(port, known);
    await once(this.#server, "listening");
  }

  /** From now on; what is open is broken off, unless it is to be silent from now on. */
  turn(way: Way, place = this.#place): void {
    this.#way = way;
    this.#place = place;
    for (const socket of this.#open) {
      if (way === "void") this.#swallow(socket);
      else socket.resetAndDestroy();
    }
  }

  /** What is open is silent from now on, and nobody is told; who connects anew is served. */
  silence(): void {
    for (const socket of this.#open) this.#swallow(socket);
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    this.turn("cut");
    await closed;
  }

  #take(near: Socket): void {
    this.#keep(near);
    if (this.#way === "cut") near.resetAndDestroy();
    if (this.#way === "void") this.#swallow(near);
    if (this.#way === "cut" || this.#way === "void") return;
    const far = this.#keep(connect(this.#place));
    near.pipe(far);
    if (this.#way === "slow") pipeSlowly(far, near);
    else far.pipe(near);
    far.once("close", () => near.destroy());
    near.once("close", () => far.destroy());
  }

  #swallow(socket: Socket): void {
    socket.unpipe().on("data", (bytes: Buffer) => (this.swallowed += bytes.length));
    socket.resume();
  }

  #keep(socket: Socket): Socket {
    this.#open.add(socket);
    return socket.on("error", () => undefined).once("close", () => this.#open.delete(socket));
  }
}

function pipeSlowly(from: Socket, to: Socket): void {
  let waiting = Buffer.alloc(0);
  const timer = setInterval(() => {
    to.write(waiting.subarray(0, slowBytes));
    waiting = waiting.subarray(slowBytes);
  }, slowMs);
  from.on("data", (bytes: Buffer) => (waiting = Buffer.concat([waiting, bytes])));
  from.once("close", () => clearInterval(timer));
}

/** An installation that is reached over a wire. */
export interface Wired {
  readonly installation: Installation;
  readonly wire: Wire;
  readonly ports: Ports;
  /** Speaks to the authority directly. */
  readonly desk: Desk;
}

/** Where an authority listens that is reached over a wire. */
export function placeOf(ports: Ports): Place {
  return { host: own, port: ports.http };
}

/** Starts an installation behind a wire. */
export async function openWired(): Promise<Wired> {
  const ports = await findPorts();
  const wire = new Wire(placeOf(ports));
  await wire.listen(ports.http);
  const installation = await openBehind(ports);
  return { installation, wire, ports, desk: new Desk({ ...installation.ready, address: own }) };
}

/** Starts, or starts again, an installation that is to be reached over a wire. */
export function openBehind(ports: Ports, folder?: string): Promise<Installation> {
  return openInstallation({ ports, words: `--bind ${own}`, ...(folder !== undefined && { folder }) });
}
