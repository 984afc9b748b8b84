/**
 * An authority that has gone wrong: it has the key of the right one, asks that one with the certificate of the broker that asks
 * it, and what it makes of the answer is up to the test.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, request, type Server } from "node:https";
import { join } from "node:path";
import type { AddressInfo } from "node:net";
import type { Place } from "./wire.ts";

/** Answers with something, given the right answer. */
export type Forgery = (response: ServerResponse, right: { readonly body: Buffer; readonly type: string }) => void;

export class Forger {
  forgery: Forgery = (response, { body, type }) => response.writeHead(200, { "content-type": type }).end(body);
  /** Requests that were answered. */
  answered = 0;
  readonly #server: Server;
  readonly #right: object;

  /** `dataDir`: of the authority that it poses as; `edgeDir`: of the broker that asks. */
  constructor(place: Place, dataDir: string, edgeDir: string) {
    const read = (dir: string, cert: string, key: string): object => ({
      cert: readFileSync(join(dir, cert)),
      key: readFileSync(join(dir, key)),
    });
    const ca = readFileSync(join(dataDir, "ca.pem"));
    this.#right = {
      ...place,
      servername: "localhost",
      ca,
      agent: false,
      ...read(edgeDir, "certificate.pem", "key.pem"),
    };
    const own = read(dataDir, "server.pem", "server.key");
    this.#server = createServer(own, (asked, response) => this.#answer(asked, response));
  }

  async listen(): Promise<Place> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return { host: "127.0.0.1", port: (this.#server.address() as AddressInfo).port };
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #answer(asked: IncomingMessage, response: ServerResponse): void {
    const right = request({ ...this.#right, path: asked.url, headers: { accept: asked.headers.accept } }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("end", () => {
        this.answered++;
        this.forgery(response, { body: Buffer.concat(chunks), type: answer.headers["content-type"] ?? "" });
      });
    });
    right.on("error", () => response.destroy());
    right.end();
  }
}
