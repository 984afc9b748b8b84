/**
 * What a broker alone answers over HTTP, on the port of its WebSockets: `GET /healthz` and `GET /metrics`, to this machine. It
 * holds no key by which it could tell a reader from elsewhere; what a proxy on this machine passes on comes from elsewhere.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from "node:http";
import type { Metrics } from "./metrics.ts";

const loopback: ReadonlySet<string> = new Set(["127.0.0.1", "::1", "::ffff:127.0.0.1"]);

/** `isStale`: nobody new is admitted; then it is alive and of no use to those who are not connected, 503. */
export function openPages(metrics: Metrics, isStale: () => boolean): RequestListener {
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const { method, url, headers, socket } = request;
    const isLocal = loopback.has(socket.remoteAddress ?? "");
    const isPassedOn = headers.forwarded !== undefined || headers["x-forwarded-for"] !== undefined;
    response.setHeader("connection", "close").setHeader("cache-control", "no-store");
    if (method === "GET" && isLocal && !isPassedOn && url === "/healthz") {
      const stale = isStale();
      response.writeHead(stale ? 503 : 200, { "content-type": "application/json" });
      response.end(JSON.stringify({ status: stale ? "stale" : "ok" }));
    } else if (method === "GET" && isLocal && !isPassedOn && url === "/metrics") {
      const { contentType, text } = await metrics.scrape();
      response.writeHead(200, { "content-type": contentType }).end(text);
    } else if (headers.upgrade === undefined && url === "/") {
      response.writeHead(426, { upgrade: "websocket" }).end();
    } else response.writeHead(404).end();
  };
  return (request, response) => {
    answer(request, response).catch(() => response.destroy());
  };
}
