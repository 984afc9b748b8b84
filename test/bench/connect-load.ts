/**
 * A load generator for CONNECT: a new connection each time, over TCP or TLS 1.3, resumed where a session is given; then
 * CONNECT, CONNACK, DISCONNECT, and the wait until the broker has closed too, so that the whole of a connection falls into
 * the round that opened it.
 */
import { once } from "node:events";
import { connect as connectTcp, type Socket } from "node:net";
import { connect as connectTls, createSecureContext, type SecureContext, type TLSSocket } from "node:tls";
import mqttPacket from "mqtt-packet";
import { toBase64url } from "../../shared/base64url.ts";
import type { Signer } from "../../shared/es256.ts";
import { exporterValue } from "../../shared/proof.ts";
import type { TlsIdentity } from "./installation.ts";

/** Where to connect; without a context not over TLS. */
export interface Door {
  readonly port: number;
  readonly context?: SecureContext | undefined;
  /** A session to resume. */
  readonly session?: Buffer | undefined;
}

/** What a CONNECT presents: nothing, user name and password, or a token and the signature that proves its key. */
export interface Presented {
  readonly clientId: string;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly token?: Uint8Array | undefined;
  readonly signer?: Signer | undefined;
}

const accepted = Buffer.from([0x20, 2, 0, 0]);
const disconnect = Buffer.from([0xe0, 0]);

/** What all connections of one kind share: the authority they trust, and the certificate they present, if any. */
export function openContext(caPem: string, identity?: TlsIdentity): SecureContext {
  return createSecureContext({ ca: caPem, ...identity, minVersion: "TLSv1.3" });
}

/** Connects. Rejects unless the CONNACK accepts. */
export async function openConnection({ port, context, session }: Door, presented: Presented): Promise<Socket> {
  const address = { port, host: "127.0.0.1" };
  const tls = { secureContext: context!, session, servername: "localhost", ALPNProtocols: ["mqtt"] };
  const socket = context === undefined ? connectTcp(address) : connectTls({ ...address, ...tls });
  const failed = new Promise<never>((_, reject) => {
    // a broker that has read DISCONNECT need not read the end of TLS, and then resets
    socket.on("error", () => {});
    socket.once("close", () => reject(new Error("closed before CONNACK")));
  });
  failed.catch(() => {});
  await Promise.race([once(socket, context === undefined ? "connect" : "secureConnect"), failed]);
  if (session !== undefined && !(socket as TLSSocket).isSessionReused()) throw new Error("not resumed");
  socket.setNoDelay(true);
  socket.write(toConnect(socket, presented));
  const connack = await Promise.race([new Promise<Buffer>((resolve) => socket.once("data", resolve)), failed]);
  if (!connack.equals(accepted)) throw new Error(`CONNACK ${connack.toString("hex")}`);
  return socket;
}

/** Connects and leaves again. Rejects unless the CONNACK accepts. */
export async function connectOnce(door: Door, presented: Presented): Promise<void> {
  await leave(await openConnection(door, presented));
}

/** Connects once for a TLS session to resume. */
export async function obtainSession(door: Door, presented: Presented): Promise<Buffer> {
  const socket = await openConnection(door, presented);
  const session = (socket as TLSSocket).getSession();
  // under TLS 1.3 tickets come after the handshake, and the CONNACK after them
  await leave(socket);
  if (session === undefined) throw new Error("no session to resume");
  return session;
}

async function leave(socket: Socket): Promise<void> {
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.end(disconnect);
  await closed;
}

function toConnect(socket: Socket, { clientId, username, password, token, signer }: Presented): Buffer {
  const base = {
    cmd: "connect",
    protocolId: "MQTT",
    protocolVersion: 4,
    clean: true,
    keepalive: 600,
    clientId,
  } as const;
  if (token === undefined || signer === undefined) {
    const login = { ...(username !== undefined && { username }), ...(password && { password: Buffer.from(password) }) };
    return mqttPacket.generate({ ...base, ...login });
  }
  const proof = Buffer.from(signer.sign(exporterValue(socket as TLSSocket)));
  return mqttPacket.generate({ ...base, username: `ace${toBase64url(token)}`, password: proof });
}
