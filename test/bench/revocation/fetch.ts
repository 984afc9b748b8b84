/**
 * One request to the authority whose answer may be large, on a connection of its own.
 */
import { request } from "node:https";
import type { TLSSocket } from "node:tls";
import type { TlsIdentity } from "../installation.ts";

/** What is asked for, and as whom. */
export interface Fetching {
  readonly port: number;
  readonly caPem: string;
  readonly path: string;
  readonly authorization?: string;
  readonly identity?: TlsIdentity;
}

/** Resolves when the whole answer is there. Rejects for any status but 200. */
export function fetchBody(fetching: Fetching): Promise<Buffer> {
  const { port, caPem, path, authorization, identity } = fetching;
  const headers = authorization === undefined ? {} : { authorization };
  const options = { host: "localhost", port, path, headers, ca: caPem, ...identity, agent: false };
  return new Promise((resolve, reject) => {
    const asked = request(options, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const body = Buffer.concat(chunks);
        if (response.statusCode === 200) resolve(body);
        else reject(new Error(`status ${response.statusCode}: ${body.toString("latin1")}`));
      });
    });
    asked.on("socket", (socket) => (socket as TLSSocket).setNoDelay(true));
    asked.on("error", reject);
    asked.end();
  });
}

/** How long that takes, connection included, and how much comes. */
export async function fetchWhole(fetching: Fetching): Promise<{ readonly seconds: number; readonly bytes: number }> {
  const startedAt = performance.now();
  const { length: bytes } = await fetchBody(fetching);
  return { seconds: (performance.now() - startedAt) / 1000, bytes };
}
