/**
 * Aedes as it comes: memory persistence, no hooks, behind the very TLS listener of the engine room, so that a CONNECT
 * differs from one of ours by the gate alone.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Aedes } from "aedes";
import { pino } from "pino";
import { listenTls } from "../../broker/mqtt/listeners.ts";

export async function startBareBroker(dataDir: string): Promise<{ mqttsPort: number; close(): Promise<void> }> {
  const read = (name: string): Buffer => readFileSync(join(dataDir, name));
  const tls = { cert: read("server.pem"), key: read("server.key"), ca: read("ca.pem") };
  const broker = await Aedes.createBroker();
  const accept = (connection: Parameters<typeof broker.handle>[0]): void => {
    broker.handle(connection);
  };
  const door = { accept, log: pino({ level: "silent" }), handshakeMilliseconds: 10_000 };
  const listener = await listenTls(tls, { port: 0, host: "127.0.0.1" }, door);
  const close = async (): Promise<void> => {
    await new Promise<void>((resolve) => broker.close(() => resolve()));
    await listener.close();
  };
  return { mqttsPort: listener.port, close };
}
