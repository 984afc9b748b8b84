/**
 * A guard around a persistence, ours or another for Aedes, so that what the gate refused leaves no trace in it.
 *
 * Stores of a SUBSCRIBE only the filters that the gate grants, and the packet once instead of once a filter. When a
 * delivery is refused, removes the refused message from the queue and no other. Ours is told what allows a will.
 * Everything else goes through as it is.
 */
import { NO_FILTER } from "../../../shared/topic.ts";
import type { Gate } from "../../gate/hooks.ts";
import { storeOf } from "../pieces.ts";
import type { Store } from "./durable-store.ts";

/** A persistence as Aedes calls it: promises and streams. */
export interface Persistence {
  setup(broker: object): Promise<void>;
  addSubscriptions(client: Stored, subscriptions: Subscription[]): Promise<unknown>;
  subscriptionsByClient(client: Stored): Promise<Subscription[]>;
  outgoingUpdate(client: Stored, packet: Queued): Promise<unknown>;
  outgoingClearMessageId(client: Stored, packet: Queued): Promise<unknown>;
  cleanIncoming?(client: Stored): Promise<unknown>;
}

interface Stored {
  readonly id: string;
  /** Set by Aedes on a client whose CONNECT was accepted. */
  readonly _authorized?: boolean;
}
interface Subscription {
  readonly topic: string;
  readonly qos: number;
}
/** A queued message, or the acknowledgement of one. `brokerId` and `brokerCounter` together name a message. */
interface Queued {
  readonly topic?: string;
  readonly cmd?: string;
  readonly brokerId?: string;
  readonly brokerCounter?: number;
  readonly messageId?: number | undefined;
}

/** Beyond every packet identifier of MQTT: an entry with such a number is the refused one and no other. */
const firstOwnNumber = 0x10000;

/** Guards a persistence with a gate. */
export function guardStore(
  gate: Pick<Gate, "mayStore" | "isRefused"> & Partial<Pick<Gate, "groundsOf">>,
  persistence: object,
): Persistence {
  const inner = persistence as Persistence & Record<string, unknown>;
  if (storeOf(persistence) !== undefined) {
    (persistence as Store).groundsOf = (client) => gate.groundsOf?.(client as object);
  }
  const stored = new WeakMap<readonly Subscription[], Promise<unknown>>();
  let ownNumber = firstOwnNumber;

  const removeRefused = async (client: Stored, packet: Queued): Promise<unknown> => {
    ownNumber = ownNumber === Number.MAX_SAFE_INTEGER ? firstOwnNumber : ownNumber + 1;
    const { brokerId, brokerCounter } = packet;
    const marked = { ...packet, brokerId, brokerCounter, messageId: ownNumber } as Queued;
    try {
      await inner.outgoingUpdate(client, marked);
    } catch {
      return undefined; // it was never queued
    }
    return inner.outgoingClearMessageId(client, marked);
  };

  const guarded: Persistence = {
    // Aedes asks for an async function by name
    async setup(broker) {
      await inner.setup(broker);
    },
    // called once for each granted filter, each time with all filters of the packet
    addSubscriptions(client, subscriptions) {
      const known = stored.get(subscriptions);
      if (known !== undefined) return known;
      // by then the gate has been asked for every filter of the packet
      const adding = Promise.resolve().then(() => {
        const granted = subscriptions.filter(({ topic }) => gate.mayStore(client, topic));
        return granted.length === 0 ? undefined : inner.addSubscriptions(client, granted);
      });
      stored.set(subscriptions, adding);
      return adding;
    },
    // Aedes tells a client of its session (MQTT-3.2.2-2) where that has a subscription
    async subscriptionsByClient(client) {
      const subscriptions = await inner.subscriptionsByClient(client);
      const isKept = subscriptions.length === 0 && storeOf(persistence)?.hasSession(client.id) === true;
      return isKept ? [{ topic: NO_FILTER, qos: 0 }] : subscriptions;
    },
    outgoingUpdate: (client, packet) => inner.outgoingUpdate(client, packet),
    // with an acknowledgement of the client, or with a whole message whose delivery was refused
    outgoingClearMessageId(client, packet) {
      const isMessage = packet.cmd === "publish" && packet.brokerCounter !== undefined;
      if (!isMessage) return inner.outgoingClearMessageId(client, packet);
      // a session that is over refuses everything; what waits for its client waits on
      return gate.isRefused(client, packet.topic ?? "") ? removeRefused(client, packet) : Promise.resolve();
    },
  };
  if (inner.cleanIncoming !== undefined) {
    // also called for who goes before it is decided whether it is whose name it uses
    guarded.cleanIncoming = (client) =>
      client._authorized === false ? Promise.resolve() : inner.cleanIncoming!(client);
  }
  return { ...boundOf(inner), ...guarded };
}

/** Everything else that a persistence offers, called on itself. */
function boundOf(inner: object): Record<string, unknown> {
  const bound: Record<string, unknown> = {};
  for (
    let owner = inner;
    owner !== Object.prototype && owner !== null;
    owner = Object.getPrototypeOf(owner) as object
  ) {
    for (const name of Object.getOwnPropertyNames(owner)) {
      if (name === "constructor" || Object.hasOwn(bound, name)) continue;
      const value: unknown = Reflect.get(inner, name);
      if (typeof value === "function") bound[name] = value.bind(inner) as unknown;
    }
  }
  return bound;
}
