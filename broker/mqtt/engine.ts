/**
 * The engine room: an Aedes broker behind its listeners, with the gate at every hook.
 *
 * MQTT 3.1 and 3.1.1. Decides nothing: who may pass is the gate's to say. The wire guard, the emitter and the durable
 * store belong beside this file and come in through `listeners.ts`, `broker-options.ts` and `store.ts`.
 */
import type { EventEmitter } from "node:events";
import { Aedes } from "aedes";
import { pino } from "pino";
import type { Logger } from "pino";
import type { Gate } from "../gate/hooks.ts";
import { brokerOptions } from "./broker-options.ts";
import { listenPlain, listenTls, listenWebSocket } from "./listeners.ts";
import type { Accept, Listener, ServerTls } from "./listeners.ts";

/** Ports: 0 takes a free one, null or absent opens none. */
export interface EngineOptions {
  readonly gate: Gate;
  readonly tls: ServerTls;
  /** Where the TLS listeners bind; default all addresses. */
  readonly host?: string | undefined;
  readonly mqttsPort?: number | null;
  readonly wssPort?: number | null;
  readonly mqttPort?: number | null;
  /** Where the plain listener binds; default loopback. */
  readonly plainHost?: string | undefined;
  /** How long a TLS handshake may take, and then a CONNECT. Default 10 seconds. */
  readonly connectMilliseconds?: number;
  readonly log?: Logger;
}

/** A running broker, with the ports it took. */
export interface Engine {
  readonly mqttsPort: number | null;
  readonly wssPort: number | null;
  readonly mqttPort: number | null;
  /** Uses another server certificate from now on; connections stay. */
  renewTls(tls: ServerTls): void;
  /** Ends every connection. The gate is for whoever opened it. */
  close(): Promise<void>;
}

/** Starts a broker; resolves when every listener takes connections, rejects and leaves nothing open otherwise. */
export async function startEngine(options: EngineOptions): Promise<Engine> {
  const { gate, tls, host, plainHost, connectMilliseconds = 10_000 } = options;
  const log = options.log ?? pino({ level: "silent" });
  const broker = await Aedes.createBroker({ ...brokerOptions(gate), connectTimeout: connectMilliseconds });
  // emitted and not declared; nobody listening would end the process
  (broker as EventEmitter).on("error", (error: Error) => log.error({ err: error }, "broker failed"));
  broker.on("clientError", (client, error) => log.debug({ clientId: client.id, err: error.message }, "client failed"));
  broker.on("connectionError", (_client, error) => log.debug({ err: error.message }, "connection failed"));

  const accept: Accept = (connection, request) => {
    broker.handle(connection, request);
  };
  const door = { accept, log, handshakeMilliseconds: connectMilliseconds };
  const listeners: Listener[] = [];
  const close = async (): Promise<void> => {
    const closing = listeners.map((listener) => listener.close());
    await new Promise<void>((resolve) => broker.close(() => resolve()));
    await Promise.all(closing);
  };
  const open = async (port: number | null | undefined, listen: (port: number) => Promise<Listener>) => {
    if (port === null || port === undefined) return null;
    const listener = await listen(port);
    listeners.push(listener);
    return listener.port;
  };

  try {
    const mqttsPort = await open(options.mqttsPort, (port) => listenTls(tls, { port, host }, door));
    const wssPort = await open(options.wssPort, (port) => listenWebSocket(tls, { port, host }, door));
    const mqttPort = await open(options.mqttPort, (port) => listenPlain({ port, host: plainHost }, door));
    const renewTls = (renewed: ServerTls): void => {
      for (const listener of listeners) listener.renewTls(renewed);
    };
    return { mqttsPort, wssPort, mqttPort, renewTls, close };
  } catch (error) {
    await close();
    throw error;
  }
}
