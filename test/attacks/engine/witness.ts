/** How to tell what came of something: a witness of all below a row's prefix, and whether a client is still there. */
import type { Wire } from "../../gate/wire.ts";
import type { Arena } from "./arena.ts";
import { pingFrame } from "./frames.ts";

/** What a witness and its publisher can be asked. */
export interface Witnessed {
  readonly witness: Wire;
  readonly publisher: Wire;
  /** The payloads that have arrived since the last question, but for the one that ends it. */
  readonly heard: () => Promise<string[]>;
}

/** Lets both in; the witness subscribes at QoS 1 to everything below the prefix. */
export async function enterPair(arena: Arena): Promise<Witnessed> {
  const publisher = await arena.enter({ allow: [`pub:${arena.at}/#`] });
  const witness = await arena.enter({ allow: [`sub:${arena.at}/#`] });
  await witness.subscribe([`${arena.at}/#`], 1);
  return {
    publisher,
    witness,
    async heard() {
      await publisher.publish(`${arena.at}/last`, "", { qos: 1 });
      const payloads: string[] = [];
      for (;;) {
        const { topic, payload } = await witness.message();
        if (topic === `${arena.at}/last`) return payloads;
        payloads.push(payload);
      }
    },
  };
}

/** Sends bytes and a PINGREQ; whether the client is still there when they are worked off. */
export async function survives(wire: Wire, sent: Uint8Array): Promise<boolean> {
  wire.sendBytes(Buffer.concat([sent, pingFrame]));
  return wire.next("pingresp").then(
    () => true,
    () => false,
  );
}
