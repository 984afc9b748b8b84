/**
 * A TCP proxy that counts what goes through it in either direction, TLS as it is.
 */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export interface Moved {
  /** From those who connect. */
  readonly up: number;
  /** To them. */
  readonly down: number;
}

export class CountingProxy {
  readonly port: number;
  #up = 0;
  #down = 0;
  #movedAt = 0;
  readonly #close: () => void;

  private constructor(port: number, close: () => void) {
    this.port = port;
    this.#close = close;
  }

  /** Listens on a free port of loopback. */
  static async open(target: number): Promise<CountingProxy> {
    const sockets = new Set<Socket>();
    const server = createServer({ noDelay: true }, (near) => {
      const far = connect({ port: target, host: "127.0.0.1", noDelay: true });
      near.on("data", (chunk) => proxy.#note(chunk.length, 0));
      far.on("data", (chunk) => proxy.#note(0, chunk.length));
      for (const [socket, other] of [
        [near, far],
        [far, near],
      ] as const) {
        sockets.add(socket);
        socket.pipe(other);
        socket.on("error", () => {});
        socket.on("close", () => {
          sockets.delete(socket);
          other.destroy();
        });
      }
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const proxy = new CountingProxy((server.address() as AddressInfo).port, () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return proxy;
  }

  get moved(): Moved {
    return { up: this.#up, down: this.#down };
  }

  /** Resolves when nothing has moved for so long. */
  async quiet(milliseconds: number): Promise<void> {
    const startedAt = performance.now();
    for (;;) {
      const left = Math.max(this.#movedAt, startedAt) + milliseconds - performance.now();
      if (left <= 0) return;
      await sleep(left);
    }
  }

  close(): void {
    this.#close();
  }

  #note(up: number, down: number): void {
    this.#up += up;
    this.#down += down;
    this.#movedAt = performance.now();
  }
}
