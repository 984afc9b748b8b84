/**
 * The engine room: an Aedes broker behind its listeners, with the gate at every hook, the wire guard before it, our emitter
 * in it and our store under it.
 *
 * MQTT 3.1 and 3.1.1. Decides nothing: who may pass is the gate's to say.
 */
import type { EventEmitter } from "node:events";
import type { RequestListener } from "node:http";
import { Aedes } from "aedes";
import { pino } from "pino";
import type { Logger } from "pino";
import type { Gate } from "../gate/hooks.ts";
import { openArrivals } from "./arrivals.ts";
import { brokerOptions } from "./broker-options.ts";
import { emitter } from "./emitter.ts";
import { openGuard } from "./guard.ts";
import { defaultLimits } from "./limits.ts";
import type { EngineLimits } from "./limits.ts";
import { listenPlain, listenTls, listenWebSocket } from "./listeners.ts";
import type { Listener, ServerTls } from "./listeners.ts";
import type { EngineMeter } from "./meter.ts";
import { durableStore } from "./store/durable-store.ts";
import type { Store } from "./store/durable-store.ts";
import { fireStoredWills } from "./stored-wills.ts";
import { catchUpTakenBack } from "./taken-back.ts";

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
  /** Answers requests on the port of the WebSockets that are for none. Default: 426. */
  readonly pages?: RequestListener | undefined;
  /** Sessions, queues, retained messages and wills; whoever opened it closes it after the engine. Default: one in memory. */
  readonly store?: Store | undefined;
  readonly limits?: Partial<EngineLimits> | undefined;
  readonly meter?: EngineMeter | undefined;
  readonly log?: Logger | undefined;
  /** Waited for when what is taken back is followed, before a stored will is published and before anybody is let in. */
  readonly beforeServing?: (() => Promise<void>) | undefined;
}

/** A running broker, with the ports it took. */
export interface Engine {
  readonly mqttsPort: number | null;
  readonly wssPort: number | null;
  readonly mqttPort: number | null;
  /** Uses another server certificate from now on; connections stay. */
  renewTls(tls: ServerTls): void;
  /** Ends every connection. The gate and the store are for whoever opened them. */
  close(): Promise<void>;
}

/** Starts a broker; resolves when every listener takes connections, rejects and leaves nothing open otherwise. */
export async function startEngine(options: EngineOptions): Promise<Engine> {
  const { gate, tls, host, plainHost, meter } = options;
  const limits: EngineLimits = { ...defaultLimits, ...options.limits };
  const log = options.log ?? pino({ level: "silent" });
  const store = options.store ?? durableStore({ file: ":memory:", limits, log });
  const logged = (error: unknown): void => log.error({ err: error }, "a message was not handed out");
  const broker = await Aedes.createBroker(brokerOptions(gate, { emitter: emitter({ error: logged }), store, limits }));
  // emitted and not declared; nobody listening would end the process
  (broker as EventEmitter).on("error", (error: Error) => log.error({ err: error }, "broker failed"));
  broker.on("clientError", (client, error) => log.debug({ clientId: client.id, err: error.message }, "client failed"));
  broker.on("connectionError", (_client, error) => log.debug({ err: error.message }, "connection failed"));

  const arrivals = openArrivals({ limits, log, meter, refused: (reason) => gate.count("arrival", reason) });
  const accept = openGuard(broker, gate, {
    limits,
    meter,
    admitted: (connection, request) => arrivals.settle(connection, request),
  });
  const door = { accept, log, arrivals, pages: options.pages };
  const listeners: Listener[] = [];
  const close = async (): Promise<void> => {
    const closing = listeners.map((listener) => listener.close());
    await new Promise<void>((resolve) => broker.close(() => resolve()));
    await Promise.all(closing);
    arrivals.close();
    if (options.store === undefined) store.close();
  };
  const open = async (port: number | null | undefined, listen: (port: number) => Promise<Listener>) => {
    if (port === null || port === undefined) return null;
    const listener = await listen(port);
    listeners.push(listener);
    return listener.port;
  };

  try {
    await options.beforeServing?.();
    catchUpTakenBack(broker, gate);
    await fireStoredWills(broker, gate, log);
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
