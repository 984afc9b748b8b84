/**
 * A client that nothing happens to: asks the broker for a sign of life all the time, and remembers how long it had to wait.
 */
import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { openConnection, type Door, type Presented } from "../connect-load.ts";

const pingRequest = Buffer.from([0xc0, 0]);
const everyMs = 4;

export class Neighbour {
  readonly #socket: Socket;
  readonly #stopped: Promise<void>;
  #isStopping = false;
  #longestMs = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#stopped = this.#ask();
  }

  static async open(door: Door, presented: Presented): Promise<Neighbour> {
    return new Neighbour(await openConnection(door, presented));
  }

  /** Leaves; the longest wait, in milliseconds. */
  async stop(): Promise<number> {
    this.#isStopping = true;
    await this.#stopped;
    this.#socket.destroy();
    return this.#longestMs;
  }

  async #ask(): Promise<void> {
    while (!this.#isStopping) {
      const askedAt = performance.now();
      this.#socket.write(pingRequest);
      await once(this.#socket, "data");
      this.#longestMs = Math.max(this.#longestMs, performance.now() - askedAt);
      await sleep(everyMs);
    }
  }
}
