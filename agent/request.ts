/**
 * One HTTPS request, bounded in time and size: what the agent and the command line both send to the authority.
 *
 * It verifies the server against the given CA only, or the system's when none is given. Follows no redirects, since
 * a credential goes to the authority that was named and nowhere else.
 */
import { Agent, request as httpsRequest, type RequestOptions } from "node:https";
import type { IncomingHttpHeaders } from "node:http";
import { AgentFailure, toFailure } from "./failure.ts";

/** What is asked, of whom, with what. */
export interface HttpsRequest {
  readonly url: URL;
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
  /** Trust in PEM. Absent: the system's. */
  readonly ca?: string;
  /** For the one request whose answer is checked by other means (the CA before it is pinned). */
  readonly unverified?: boolean;
  /** Client certificate and its key in PEM. */
  readonly certificatePem?: string;
  readonly keyPem?: string;
  /** Longest answer accepted. Default 256 KiB. */
  readonly maxBytes?: number;
  /** Reuse connections of this agent; absent, the connection is closed after the answer. */
  readonly agent?: Agent;
}

/** One answer, read whole. */
export interface HttpsResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** From the first byte out to the last byte in. */
const timeoutMs = 15_000;

/** Sends the request; any answer resolves, whatever its status. Rejects with `unreachable` when there is none. */
export function sendHttps(request: HttpsRequest): Promise<HttpsResponse> {
  const { url } = request;
  const what = `${request.method} ${url.origin}${url.pathname}`;
  // for TLS an empty list means that of the system
  if (request.ca?.trim() === "") throw new AgentFailure("refused", "the CA to trust is empty");
  if (url.protocol !== "https:") throw new AgentFailure("refused", `${url.origin} is not an https address`);
  const options: RequestOptions = {
    method: request.method,
    headers: {
      ...request.headers,
      ...(request.body !== undefined && { "content-length": String(Buffer.byteLength(request.body)) }),
    },
    agent: request.agent ?? false,
    minVersion: "TLSv1.2",
    rejectUnauthorized: request.unverified !== true,
    ...(request.ca !== undefined && { ca: request.ca }),
    ...(request.certificatePem !== undefined && { cert: request.certificatePem }),
    ...(request.keyPem !== undefined && { key: request.keyPem }),
  };
  const maxBytes = request.maxBytes ?? 262_144;
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => {
      clearTimeout(deadline);
      reject(toFailure(error, what));
    };
    const outgoing = httpsRequest(url, options, (incoming) => {
      const chunks: Buffer[] = [];
      let received = 0;
      incoming.on("data", (chunk: Buffer) => {
        received += chunk.length;
        if (received > maxBytes) outgoing.destroy(new Error(`the answer is longer than ${maxBytes} bytes`));
        else chunks.push(chunk);
      });
      incoming.on("error", fail);
      incoming.on("end", () => {
        clearTimeout(deadline);
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: Buffer.concat(chunks) });
      });
    });
    const deadline = setTimeout(() => {
      outgoing.destroy(Object.assign(new Error("no answer in time"), { code: "ETIMEDOUT" }));
    }, timeoutMs);
    outgoing.on("error", fail);
    outgoing.end(request.body);
  });
}

/** Seconds of a Retry-After header, from either of its forms (RFC 9110, section 10.2.3); at most an hour. */
export function readRetryAfter(value: string | undefined, nowSeconds: number): number | undefined {
  if (value === undefined) return undefined;
  const seconds = /^\d{1,9}$/.test(value) ? Number(value) : Math.ceil(Date.parse(value) / 1000 - nowSeconds);
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 0), 3600) : undefined;
}
