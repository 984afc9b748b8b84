/**
 * Many clients that connect and stay: over TCP or TLS, with a certificate, with a token and its proof, or with nothing.
 */
import { createPrivateKey } from "node:crypto";
import { performance } from "node:perf_hooks";
import type { Socket } from "node:net";
import { createSigner } from "../../../shared/es256.ts";
import { openConnection, openContext } from "../connect-load.ts";
import type { TlsIdentity } from "../installation.ts";
import { runWide } from "../rounds.ts";

/** How the clients of a crowd connect. */
export interface CrowdSpec {
  readonly port: number;
  /** The number of the client is put behind it. */
  readonly clientIdPrefix: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly tls?: { readonly caPem: string; readonly identity?: TlsIdentity | undefined } | undefined;
  /** A token for each of them, and the key that all are bound to, PEM. */
  readonly proof?: { readonly tokens: readonly Uint8Array[]; readonly keyPem: string } | undefined;
}

/** The clients that are connected. */
export class Crowd {
  readonly #spec: CrowdSpec;
  readonly #sockets: Socket[] = [];

  constructor(spec: CrowdSpec) {
    this.#spec = spec;
  }

  /** Connects more of them, so many at a time; says how long it took and how many were not let in. */
  async grow(clients: number, atATime: number): Promise<{ seconds: number; failed: number }> {
    const { port, clientIdPrefix, username, password, tls, proof } = this.#spec;
    const context = tls && openContext(tls.caPem, tls.identity);
    const signer = proof && createSigner("", createPrivateKey(proof.keyPem));
    const first = this.#sockets.length;
    const started = performance.now();
    let failed = 0;
    await runWide(clients, atATime, async (index) => {
      const number = first + index;
      const token = proof?.tokens[number % proof.tokens.length];
      const presented = { clientId: `${clientIdPrefix}${number}`, username, password, token, signer };
      try {
        this.#sockets.push(await openConnection({ port, context }, presented));
      } catch {
        failed++;
      }
    });
    return { seconds: (performance.now() - started) / 1000, failed };
  }

  async leave(): Promise<void> {
    const closed = this.#sockets.map(
      (socket) => new Promise((resolve) => (socket.destroyed ? resolve(null) : socket.once("close", resolve))),
    );
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(closed);
    this.#sockets.length = 0;
  }
}
