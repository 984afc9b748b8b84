/**
 * What doctor asks of a server without being anybody: how its TLS looks from here, and whether a broker answers CONNECT.
 */
import { isIP } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import { toFailure } from "../agent/failure.ts";

/** A handshake that came about, whatever the certificate is worth. */
export interface Handshake {
  /** Node's code for why the certificate is not trusted; undefined where it is. */
  readonly distrust: string | undefined;
  /** When the certificate ends, in seconds. */
  readonly endsAt: number;
}

const timeoutMs = 10_000;
/** MQTT 3.1.1 CONNECT of nobody: clean session, no client id, no credential. */
const anonymousConnect = Buffer.from("100c00044d5154540402000a0000", "hex");
const disconnect = Buffer.from("e000", "hex");
const connack = 0x20;

/** Shakes hands with a server. Rejects `unreachable`. */
export async function shakeHands(url: string, ca: string | undefined): Promise<Handshake> {
  const socket = await open(url, 443, ca);
  const { valid_to: end } = socket.getPeerCertificate();
  const { authorizationError } = socket;
  socket.destroy();
  return {
    // a code, where the types have an Error
    distrust: socket.authorized ? undefined : String(authorizationError),
    endsAt: Date.parse(end) / 1000,
  };
}

/** Connects to a broker as nobody; resolves when it answers with a CONNACK, whatever that says. Rejects `unreachable`. */
export async function askBroker(url: string, ca: string | undefined): Promise<Handshake> {
  const socket = await open(url, 8883, ca);
  try {
    const { valid_to: end } = socket.getPeerCertificate();
    await answered(socket, url);
    return {
      distrust: socket.authorized ? undefined : String(socket.authorizationError),
      endsAt: Date.parse(end) / 1000,
    };
  } finally {
    socket.destroy();
  }
}

function open(address: string, defaultPort: number, ca: string | undefined): Promise<TLSSocket> {
  const url = new URL(address);
  const host = url.hostname.replace(/^\[|\]$/g, "");
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port: Number(url.port === "" ? defaultPort : url.port),
      // SNI names hosts, not addresses (RFC 6066, section 3)
      ...(isIP(host) === 0 ? { servername: host } : {}),
      ...(ca !== undefined && { ca }),
      // nothing is sent that is worth anything; what is wrong with the certificate is what is asked
      rejectUnauthorized: false,
    });
    const fail = (error: Error): void => {
      socket.destroy();
      reject(toFailure(error, address));
    };
    socket.setTimeout(timeoutMs, () => fail(Object.assign(new Error("no answer"), { code: "ETIMEDOUT" })));
    socket.on("error", fail);
    socket.once("secureConnect", () => resolve(socket));
  });
}

function answered(socket: TLSSocket, url: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => reject(toFailure(new Error(why), url));
    socket.once("data", (bytes: Buffer) => {
      if (bytes[0] !== connack) return fail("it does not speak MQTT");
      socket.write(disconnect);
      resolve();
    });
    socket.once("close", () => fail("the connection was closed before CONNECT was answered"));
    socket.on("timeout", () => fail("CONNECT was not answered in time"));
    socket.write(anonymousConnect);
  });
}
