/**
 * One connection of a load generator: a bare socket with a buffer of its own that is read into again and again.
 */
import { connect, type Socket } from "node:net";
import { FrameCounter, writeSubscribe } from "./frames.ts";

const chunkBytes = 64 * 1024;
const disconnect = Buffer.from([0xe0, 0]);

/** An MQTT connection on plain TCP that is accepted. */
export class Link {
  readonly frames = new FrameCounter();
  readonly socket: Socket;
  /** Called after each chunk, and when the connection has ended. */
  onProgress: () => void = () => {};
  isClosed = false;

  private constructor(port: number) {
    const callback = (bytes: number, buffer: Uint8Array): boolean => {
      const pubacks = this.frames.feed(Buffer.from(buffer.buffer, buffer.byteOffset, bytes));
      if (pubacks !== undefined) this.socket.write(pubacks);
      this.onProgress();
      return true;
    };
    const onread = { buffer: Buffer.alloc(chunkBytes), callback };
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true, onread });
    this.socket.on("error", () => {});
    this.socket.on("close", () => {
      this.isClosed = true;
      this.onProgress();
    });
  }

  /** Connects; rejects unless the CONNACK accepts. */
  static async open(port: number, connectFrame: Buffer): Promise<Link> {
    const link = new Link(port);
    link.socket.write(connectFrame);
    const code = await link.#answered(() => link.frames.connack);
    if (code !== 0) throw new Error(`CONNACK ${code}`);
    return link;
  }

  /** Subscribes; rejects unless the SUBACK grants it. */
  async subscribe(filter: string, qos: 0 | 1): Promise<void> {
    this.frames.suback = undefined;
    this.socket.write(writeSubscribe(filter, qos));
    const code = await this.#answered(() => this.frames.suback);
    if (code > 2) throw new Error(`SUBACK ${code}`);
  }

  /** Says DISCONNECT and waits for the end. */
  async close(): Promise<void> {
    this.onProgress = () => {};
    if (this.isClosed) return;
    const closed = new Promise((resolve) => this.socket.once("close", resolve));
    this.socket.end(disconnect);
    // what a server that is behind has still to read is not waited for
    const timer = setTimeout(() => this.socket.destroy(), 2000);
    await closed;
    clearTimeout(timer);
  }

  #answered(read: () => number | undefined): Promise<number> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const code = read();
        if (code === undefined && !this.isClosed) return;
        this.onProgress = () => {};
        if (code === undefined) reject(new Error("closed before it was answered"));
        else resolve(code);
      };
      this.onProgress = look;
      look();
    });
  }
}
