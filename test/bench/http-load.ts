/**
 * A load generator for HTTPS that costs little: connections over TLS 1.3 that stay, each with one request under way, whose
 * bytes were made beforehand. It reads no more of HTTP/1.1 than status and Content-Length.
 */
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import type { TlsIdentity } from "./installation.ts";

export interface Target {
  readonly port: number;
  readonly caPem: string;
  readonly identity?: TlsIdentity | undefined;
}

/** A connection that is kept alive. */
export class HttpConnection {
  readonly #socket: TLSSocket;
  #received: Buffer = Buffer.alloc(0);
  #asking: { answer: (body: Buffer) => void; fail: (error: Error) => void } | undefined;

  private constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("error", (error) => this.#asking?.fail(error));
    socket.on("close", () => this.#asking?.fail(new Error("closed before the answer")));
  }

  static async open({ port, caPem, identity }: Target): Promise<HttpConnection> {
    const address = { port, host: "127.0.0.1", servername: "localhost" };
    const socket = connect({ ...address, ca: caPem, ...identity, minVersion: "TLSv1.3" });
    socket.setNoDelay(true);
    await once(socket, "secureConnect");
    return new HttpConnection(socket);
  }

  /** Sends a whole request and gives back the body of its answer. Rejects for any status but 2xx. */
  ask(request: Buffer): Promise<Buffer> {
    return new Promise((answer, fail) => {
      this.#asking = { answer, fail };
      this.#socket.write(request);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(chunk: Buffer): void {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    const headEnd = this.#received.indexOf("\r\n\r\n");
    if (headEnd < 0) return;
    const head = this.#received.toString("latin1", 0, headEnd);
    const stated = /^content-length: *(\d+)/im.exec(head)?.[1] ?? Number.NaN;
    const length = head.startsWith("HTTP/1.1 204 ") ? 0 : Number(stated);
    const end = headEnd + 4 + length;
    if (this.#received.length < end) return;
    const body = this.#received.subarray(headEnd + 4, end);
    this.#received = this.#received.subarray(end);
    const asking = this.#asking;
    this.#asking = undefined;
    if (head.startsWith("HTTP/1.1 2")) asking?.answer(body);
    else asking?.fail(new Error(`${head.split("\r\n", 1)[0]}: ${body.toString("latin1")}`));
  }
}

/** The bytes of a POST request. */
export function toPost(path: string, type: string, body: Uint8Array | string): Buffer {
  return toRequest("POST", path, { "content-type": type }, body);
}

/** The bytes of a request with a body. */
export function toRequest(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array | string,
): Buffer {
  const bytes = Buffer.from(body);
  const all = Object.entries({ host: "localhost", ...headers, "content-length": String(bytes.length) });
  const head = [`${method} ${path} HTTP/1.1`, ...all.map(([name, value]) => `${name}: ${value}`)];
  return Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), bytes]);
}
