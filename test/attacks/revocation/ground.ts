/** What the attacks on taking back have in common: an authority with a client, a broker, an administrator and their requests. */
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import { expect, vi } from "vitest";
import { encodeTokenRequest, readTokenResponse } from "../../../shared/ace.ts";
import { createClient } from "../../../broker/registry/clients.ts";
import { ACE, base64, makeCsr, makeDevice, type Answer, type Call, type Device } from "../../authority/fixture.ts";
import { ADMIN, makeBroker, openTrlFixture, type TrlFixture } from "../../authority/trl-fixture.ts";

/** For what comes soon, and later on a busy machine. */
export const patienceMs = 20_000;

export interface Ground extends TrlFixture {
  readonly broker: Device;
  /** A request of the administrator. */
  admin(path: string, body?: unknown, method?: string): Promise<Answer>;
  /** `POST /v1/revocations`. */
  revoke(wish: unknown): Promise<Answer>;
  ask(as: Device): Promise<Answer>;
  getToken(as: Device): Promise<Uint8Array>;
  renew(as: Device, key?: Device["privateKey"]): Promise<Answer>;
  /** A device of its own. */
  newDevice(name: string): Promise<Device>;
  /** A connection on which nothing is read. */
  stall(head: string): Promise<TLSSocket>;
}

export async function openGround(): Promise<Ground> {
  const at = await openTrlFixture();
  const ask = (as: Device): Promise<Answer> =>
    at.call("/token", { type: ACE, body: encodeTokenRequest({ audience: "plant.tele" }), as });
  const admin: Ground["admin"] = (path, body, method) => {
    const sent: Call = body === undefined ? {} : { type: "application/json", body: JSON.stringify(body) };
    return at.call(path, { ...sent, headers: ADMIN, ...(method !== undefined && { method }) });
  };
  return {
    ...at,
    broker: await makeBroker(at, "edge"),
    admin,
    revoke: (wish) => admin("/v1/revocations", wish),
    ask,
    getToken: async (as) => readTokenResponse((await ask(as)).body).accessToken,
    renew: (as, key = as.privateKey) =>
      at.call("/.well-known/est/simplereenroll", {
        type: "application/pkcs10",
        body: base64(makeCsr(key, { subject: nameless })),
        as,
      }),
    async newDevice(name) {
      createClient(at.registry, { project: "plant", name, kind: "device", roles: ["sensor"] });
      return makeDevice(at, `plant.${name}`);
    },
    stall: (head) => openStalled(at, head),
  };
}

/** An empty name. */
const nameless = Buffer.from("3000", "hex");

/** Sends a request and reads nothing of what comes. */
export async function openStalled(at: Pick<TrlFixture, "authority" | "ca">, head: string): Promise<TLSSocket> {
  const socket = connect({ port: at.authority.port, host: "127.0.0.1", servername: "localhost", ca: at.ca.caPem });
  socket.on("error", () => {});
  await once(socket, "secureConnect");
  socket.pause();
  socket.write(head);
  return socket;
}

/** Asks for what is to be held, and resolves when the authority has looked and holds it. */
export async function askHeld(
  at: Pick<TrlFixture, "call" | "registry">,
  path: string,
  call: Call,
): Promise<{ readonly answer: Promise<Answer> }> {
  const looked = vi.spyOn(at.registry, "nowSeconds");
  const answer = at.call(path, call);
  await vi.waitFor(() => expect(looked).toHaveBeenCalled(), { timeout: patienceMs });
  // the answer to this one has taken the way that the other's would have taken
  await at.call("/healthz");
  looked.mockRestore();
  return { answer };
}

export function json(answer: Answer): Record<string, unknown> {
  return JSON.parse(answer.body.toString()) as Record<string, unknown>;
}

export function toText(token: Uint8Array): string {
  return Buffer.from(token).toString("base64url");
}
