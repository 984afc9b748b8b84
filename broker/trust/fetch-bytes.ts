/**
 * One request over HTTP, bounded in time and in size. Follows no redirect, and takes a body that was cut for none.
 */
import { request as requestHttp } from "node:http";
import type { Agent, IncomingHttpHeaders } from "node:http";
import { request as requestHttps } from "node:https";

/** How to ask, and how much to take. */
export interface FetchOptions {
  readonly headers: Readonly<Record<string, string>>;
  /** What is sent, with POST; default: nothing, with GET. */
  readonly body?: Uint8Array | undefined;
  /** PEM of the authorities that the server's certificate is checked against; default: the system's. Not with an agent. */
  readonly ca?: string | undefined;
  /** Keeps connections; default: a connection of its own. */
  readonly agent?: Agent | undefined;
  /** How long until the header is there, and from then on until the body is. */
  readonly answerMilliseconds: number;
  readonly bodyMilliseconds: number;
  readonly maxBytes: number;
  /** Gives up. */
  readonly signal?: AbortSignal | undefined;
}

/** What came. */
export interface Fetched {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** The media type in lower case, without parameters; empty for none. */
  readonly type: string;
  readonly body: Buffer;
}

/** Fetches; rejects with what was wrong. `answered` is called when the headers are there. */
export function fetchBytes(
  url: URL,
  options: FetchOptions,
  answered?: (headers: IncomingHttpHeaders) => void,
): Promise<Fetched> {
  const { headers, body, ca, agent, signal, maxBytes } = options;
  const method = body === undefined ? "GET" : "POST";
  const length = body === undefined ? undefined : { "content-length": `${body.length}` };
  return new Promise((resolve, reject) => {
    const open = url.protocol === "https:" ? requestHttps : requestHttp;
    const request = open(
      url,
      { method, headers: { ...headers, ...length }, agent: agent ?? false, signal, ...(ca !== undefined && { ca }) },
      (response) => {
        answered?.(response.headers);
        limit(options.bodyMilliseconds, "the body was not there in time");
        const chunks: Buffer[] = [];
        let size = 0;
        response.on("data", (chunk: Buffer) => {
          size += chunk.length;
          if (size > maxBytes) end(new Error(`the answer is larger than ${maxBytes} bytes`));
          else chunks.push(chunk);
        });
        response.on("error", end);
        response.on("end", () => {
          clearTimeout(timer);
          const { statusCode = 0, headers: given } = response;
          const type = (given["content-type"] ?? "").split(";", 1)[0]!.trim().toLowerCase();
          resolve({ status: statusCode, headers: given, type, body: Buffer.concat(chunks, size) });
        });
      },
    );
    let timer: NodeJS.Timeout | undefined;
    const end = (error: Error): void => {
      clearTimeout(timer);
      reject(error);
      request.destroy();
    };
    const limit = (milliseconds: number, why: string): void => {
      clearTimeout(timer);
      timer = setTimeout(() => end(new Error(why)), milliseconds);
    };
    limit(options.answerMilliseconds, "no answer in time");
    request.on("error", end);
    request.end(body);
  });
}
