/**
 * A load generator for CONNECT: a new TLS 1.3 connection each time, never a resumed one, CONNECT, CONNACK, DISCONNECT, and
 * the wait until the broker has closed too, so that the whole of a connection falls into the round that opened it.
 */
import { once } from "node:events";
import { connect, createSecureContext, type SecureContext, type TLSSocket } from "node:tls";
import mqttPacket from "mqtt-packet";
import { toBase64url } from "../../shared/base64url.ts";
import type { Signer } from "../../shared/es256.ts";
import { exporterValue } from "../../shared/proof.ts";
import type { TlsIdentity } from "./installation.ts";

/** What a CONNECT presents: nothing but the TLS connection, or a token and the signature that proves its key. */
export interface Presented {
  readonly clientId: string;
  readonly token?: Uint8Array | undefined;
}

const accepted = Buffer.from([0x20, 2, 0, 0]);
const disconnect = Buffer.from([0xe0, 0]);

/** What all connections of one kind share: the authority they trust, and the certificate they present, if any. */
export function openContext(caPem: string, identity?: TlsIdentity): SecureContext {
  return createSecureContext({ ca: caPem, ...identity, minVersion: "TLSv1.3" });
}

/** Connects and leaves again. Rejects unless the CONNACK accepts. */
export async function connectOnce(
  port: number,
  secureContext: SecureContext,
  presented: Presented,
  signer: Signer,
): Promise<void> {
  const address = { port, host: "127.0.0.1", servername: "localhost" };
  const socket = connect({ ...address, secureContext, ALPNProtocols: ["mqtt"] });
  // a broker that has read DISCONNECT need not read the end of TLS, and then resets
  socket.on("error", () => {});
  const closed = new Promise((resolve) => socket.once("close", resolve));
  await once(socket, "secureConnect");
  socket.setNoDelay(true);
  socket.write(toConnect(socket, presented, signer));
  const connack = await new Promise<Buffer>((resolve, reject) => {
    socket.once("data", resolve);
    socket.once("close", () => reject(new Error("closed before CONNACK")));
  });
  if (!connack.equals(accepted)) throw new Error(`CONNACK ${connack.toString("hex")}`);
  socket.end(disconnect);
  await closed;
}

function toConnect(socket: TLSSocket, { clientId, token }: Presented, signer: Signer): Buffer {
  const base = {
    cmd: "connect",
    protocolId: "MQTT",
    protocolVersion: 4,
    clean: true,
    keepalive: 60,
    clientId,
  } as const;
  if (token === undefined) return mqttPacket.generate(base);
  const password = Buffer.from(signer.sign(exporterValue(socket)));
  return mqttPacket.generate({ ...base, username: `ace${toBase64url(token)}`, password });
}
