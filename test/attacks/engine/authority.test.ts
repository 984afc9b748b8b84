/** The authority is elsewhere and gone: what it said decides on, and nobody new is believed. */
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { expect } from "vitest";
import { toJwk } from "../../../shared/cose-key.ts";
import { createSigner, type Signer } from "../../../shared/es256.ts";
import { makePrivateKey } from "../../gate/certificates.ts";
import type { Arena } from "./arena.ts";
import { describeAttacks, type Row } from "./table.ts";
import { enterPair } from "./witness.ts";

let server: Server;

async function publishKey({ kid, publicKey }: Signer): Promise<string> {
  server = createServer((_request, response) => {
    response.setHeader("content-type", "application/jwk-set+json");
    response.end(JSON.stringify({ keys: [{ ...toJwk(publicKey), kid, alg: "ES256" }] }));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
}

async function leave(): Promise<void> {
  if (!server.listening) return;
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

/** The code that a CONNECT with a token of somebody else's key is answered. */
async function tryUnknown(arena: Arena): Promise<number | undefined> {
  const sub = arena.client();
  const signer = createSigner("unknown", makePrivateKey());
  const wire = await arena.open();
  const { returnCode } = await wire.connect({ clientId: sub, ...arena.bearer(sub, { allow: ["pubsub:#"], signer }) });
  await wire.closed;
  return returnCode;
}

const rows: Row[] = [
  {
    name: "the authority goes while clients are connected, and others come",
    async attack(arena) {
      const early = await arena.enter({ allow: [`pub:${arena.at}/#`] });
      await leave();
      const { heard } = await enterPair(arena);
      await early.publish(`${arena.at}/x`, "early", { qos: 1 });
      expect(await heard()).toEqual(["early"]);
      return "tokens that are good still decide";
    },
  },
  {
    name: "100 CONNECTs with tokens of unknown keys while the authority is gone, one ended and one forged",
    async attack(arena) {
      await leave();
      const codes = new Set(await Promise.all(Array.from({ length: 100 }, () => tryUnknown(arena))));
      expect(codes).not.toContain(0);
      const forger = createSigner(arena.grounds.signer.kid, makePrivateKey());
      for (const wish of [{ ttlSeconds: -60 }, { signer: forger }]) {
        const wire = await arena.open();
        const sub = arena.client();
        const { returnCode } = await wire.connect({ clientId: sub, ...arena.bearer(sub, { allow: [], ...wish }) });
        expect(returnCode).not.toBe(0);
      }
      return `refused with code ${[...codes].join(", ")}`;
    },
  },
];

describeAttacks("the authority is gone", rows, { publishKey });
