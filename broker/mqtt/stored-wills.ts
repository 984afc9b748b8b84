/**
 * Wills that a broker left behind which did not end as it should: decided again, published or dropped, and forgotten.
 */
import type { Logger } from "pino";
import type { Gate } from "../gate/hooks.ts";
import type { WillGrounds } from "../gate/will-grounds.ts";
import type { EngineBroker } from "./aedes-client.ts";

/** A will as a store gives it back, with what allowed it. */
export interface StoredWill {
  readonly clientId: string;
  readonly packet: { readonly topic: string };
  readonly grounds: unknown;
}

/** Where wills are kept. */
export interface WillKeeper {
  /** The wills of brokers that are gone; each is kept until it is deleted. */
  takeWills(): StoredWill[];
  delWill(client: { readonly id: string }): Promise<unknown>;
}

/** How often to look whether it is known again what was taken back. */
const lookMilliseconds = 1000;

/**
 * Publishes what may be published of what the store of this broker keeps; while what is known is too old to tell, nothing, until
 * it is not. One that cannot be is logged and tried again at the next start.
 */
export async function fireStoredWills(aedes: object, gate: Gate, log: Logger): Promise<void> {
  const broker = aedes as EngineBroker;
  const keeper = broker.persistence as Partial<WillKeeper>;
  if (keeper.takeWills === undefined || keeper.delWill === undefined) return;
  const left = keeper.takeWills();
  const fireAll = async (): Promise<void> => {
    for (const will of left) await fire(broker, keeper as WillKeeper, gate, log, will);
  };
  if (left.length === 0 || !gate.isStale) return fireAll();
  log.warn({ wills: left.length }, "nobody knows whether stored wills may be published: they wait");
  const looking = setInterval(() => {
    if (gate.isStale) return;
    clearInterval(looking);
    void fireAll();
  }, lookMilliseconds).unref();
  broker.once("closed", () => clearInterval(looking));
}

async function fire(
  broker: EngineBroker,
  keeper: WillKeeper,
  gate: Gate,
  log: Logger,
  { clientId, packet, grounds }: StoredWill,
): Promise<void> {
  try {
    if (grounds && gate.mayFireStored(grounds as WillGrounds, packet.topic)) await publish(broker, packet);
    await keeper.delWill({ id: clientId });
  } catch (error) {
    log.error({ err: error, clientId }, "a stored will was not published");
  }
}

function publish(broker: EngineBroker, packet: object): Promise<void> {
  return new Promise((resolve, reject) => {
    broker.publish(packet, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}
