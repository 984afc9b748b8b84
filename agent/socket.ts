/**
 * The TLS connection to a broker, verified against the pinned CA and past its handshake, so that its exporter can be asked.
 *
 * TLS 1.3 only (RFC 9431 proofs are not unambiguous below it); without Nagle's delay, since MQTT packets are small.
 */
import { isIP } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { toFailure } from "./failure.ts";

/** Connects to `mqtts://host:port`. Rejects `unreachable`. */
export function openSocket(broker: string, caPem: string, timeoutMs: number): Promise<TLSSocket> {
  const url = new URL(broker);
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port: Number(url.port === "" ? 8883 : url.port),
      // SNI names hosts, not addresses (RFC 6066, section 3)
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ca: caPem,
      minVersion: "TLSv1.3",
    });
    const fail = (error: Error): void => {
      clearTimeout(deadline);
      socket.destroy();
      reject(toFailure(error, broker));
    };
    const failWith = (code: string) => () => fail(Object.assign(new Error(code), { code }));
    const failOnClose = failWith("ECONNRESET");
    const deadline = setTimeout(failWith("ETIMEDOUT"), timeoutMs);
    socket.once("error", fail);
    socket.once("close", failOnClose);
    socket.once("secureConnect", () => {
      clearTimeout(deadline);
      socket.off("error", fail).off("close", failOnClose);
      socket.on("error", () => undefined);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}
