/**
 * A guard around any Aedes persistence, so that what the gate refused leaves no trace in it.
 *
 * Stores of a SUBSCRIBE only the filters that the gate grants, and the packet once instead of once a filter. When a
 * delivery is refused, removes the refused message from the queue and no other. Everything else goes through as it is.
 * The durable store with its caps takes the place of the memory persistence that is the default here.
 */
import memory from "aedes-persistence";
import type { Gate } from "../gate/hooks.ts";

/** Its types declare a module, what it exports is the function. */
const openMemory = memory as unknown as () => object;

/** The methods of a persistence that Aedes 1.2 calls, without the two that are guarded. */
const methods = [
  "storeRetained",
  "createRetainedStream",
  "createRetainedStreamCombi",
  "removeSubscriptions",
  "subscriptionsByClient",
  "countOffline",
  "subscriptionsByTopic",
  "cleanSubscriptions",
  "outgoingEnqueue",
  "outgoingEnqueueCombi",
  "outgoingUpdate",
  "outgoingStream",
  "incomingStorePacket",
  "incomingGetPacket",
  "incomingDelPacket",
  "cleanIncoming",
  "putWill",
  "getWill",
  "delWill",
  "streamWill",
  "getClientList",
  "destroy",
] as const;

/** A persistence as Aedes calls it: promises and streams. */
export interface Persistence {
  setup(broker: object): Promise<void>;
  addSubscriptions(client: Stored, subscriptions: Subscription[]): Promise<unknown>;
  outgoingUpdate(client: Stored, packet: Queued): Promise<unknown>;
  outgoingClearMessageId(client: Stored, packet: Queued): Promise<unknown>;
}

interface Stored {
  readonly id: string;
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

/** Guards a persistence with a gate. Default: the one of Aedes in memory. */
export function guardPersistence(gate: Pick<Gate, "mayStore" | "isRefused">, persistence?: object): Persistence {
  const inner = (persistence ?? openMemory()) as Persistence & Record<string, unknown>;
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
    outgoingUpdate: (client, packet) => inner.outgoingUpdate(client, packet),
    // with an acknowledgement of the client, or with a whole message whose delivery was refused
    outgoingClearMessageId(client, packet) {
      const isMessage = packet.cmd === "publish" && packet.brokerCounter !== undefined;
      if (!isMessage) return inner.outgoingClearMessageId(client, packet);
      // a session that is over refuses everything; what waits for its client waits on
      return gate.isRefused(client, packet.topic ?? "") ? removeRefused(client, packet) : Promise.resolve();
    },
  };
  const rest: Record<string, unknown> = {};
  for (const name of methods) {
    const method = inner[name];
    if (typeof method === "function") rest[name] = method.bind(inner);
  }
  return { ...rest, ...guarded };
}
