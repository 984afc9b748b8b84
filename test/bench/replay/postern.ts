/** Postern as the replay sees it: bearer tokens for passwords, clients at its authority. */
import { toBase64url } from "../../../shared/base64url.ts";
import { openArena } from "../../attacks/engine/arena.ts";
import { identities, type Credential, type Identity, type Profile, type Rights } from "./profile.ts";

const names = Object.keys(identities) as Identity[];

export async function startPostern(): Promise<Profile> {
  const arena = await openArena({ hasPair: false });
  const clients = new Map<Identity, { id: string; rights: Rights }>(
    names.map((name) => [name, { id: arena.client(), rights: identities[name] }]),
  );
  const tokenOf = (identity: Identity, ttlSeconds = 600): Uint8Array => {
    const { id, rights } = clients.get(identity)!;
    const allow = [...rights.pub.map((filter) => `pub:${filter}`), ...rights.sub.map((filter) => `sub:${filter}`)];
    return arena.token(id, { allow, ttlSeconds });
  };
  const credential = (identity: Identity, ttlSeconds?: number): Credential => {
    const password = Buffer.from(toBase64url(tokenOf(identity, ttlSeconds)));
    return { clientId: clients.get(identity)!.id, username: identity, password };
  };
  return {
    name: "postern",
    port: arena.port.mqtt,
    credential: (identity) => credential(identity),
    endingCredential: credential,
    renew: (identity, wire) => wire.publish("authz-info", Buffer.from(tokenOf(identity)), { qos: 1 }),
    // rights are the token's: a live session is given another one
    async change(identity, rights, wire) {
      clients.get(identity)!.rights = rights;
      await wire?.publish("authz-info", Buffer.from(tokenOf(identity)), { qos: 1 });
    },
    disable: (identity) => arena.change(clients.get(identity)!.id, { enabled: false }),
    stop: () => arena.close(),
  };
}
