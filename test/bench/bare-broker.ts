/**
 * Aedes as it comes: default options, memory persistence, no hooks, behind listeners that do no more than ours must: no
 * delay, and for TLS the certificates of ours, with a client certificate asked for and not looked at.
 */
import { readFileSync } from "node:fs";
import { createServer as createTcpServer, type AddressInfo, type Server } from "node:net";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { Aedes } from "aedes";

export async function startBareBroker(
  dataDir: string,
): Promise<{ mqttsPort: number; mqttPort: number; close(): Promise<void> }> {
  const read = (name: string): Buffer => readFileSync(join(dataDir, name));
  const tls = { cert: read("server.pem"), key: read("server.key"), ca: read("ca.pem") };
  const asked = { requestCert: true, rejectUnauthorized: false, ALPNProtocols: ["mqtt"] };
  const broker = await Aedes.createBroker();
  const tlsServer = createTlsServer({ ...tls, ...asked, noDelay: true }, (socket) => void broker.handle(socket));
  tlsServer.on("tlsClientError", (_error, socket) => socket.destroy());
  const tcpServer = createTcpServer({ noDelay: true }, (socket) => void broker.handle(socket));
  const servers = [tlsServer, tcpServer];
  const [mqttsPort, mqttPort] = [await listen(tlsServer), await listen(tcpServer)];
  const close = async (): Promise<void> => {
    const closed = servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    await new Promise<void>((resolve) => broker.close(() => resolve()));
    await Promise.all(closed);
  };
  return { mqttsPort, mqttPort, close };
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, resolve));
  return (server.address() as AddressInfo).port;
}
