/** What the tests of introspection have in common: apis of both kinds with credentials of their own, and tokens for them. */
import { createApi } from "../../broker/registry/apis.ts";
import { setClientRoles } from "../../broker/registry/clients.ts";
import { nextTokenId, recordIssued } from "../../broker/registry/issued.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { createSecret } from "../../broker/registry/secrets.ts";
import { activeSigner } from "../../broker/registry/signing-keys.ts";
import type { Claims } from "../../shared/claims.ts";
import { mintCwt } from "../../shared/cwt.ts";
import type { Signer } from "../../shared/es256.ts";
import { mintJwt } from "../../shared/jwt.ts";
import { parsePermission } from "../../shared/scope.ts";
import { presentToken, toToken, tokenHashes } from "../../shared/token.ts";
import {
  ACE,
  basic,
  furnish,
  ISSUER,
  makeDevice,
  openFixture,
  type Answer,
  type Device,
  type Fixture,
} from "./fixture.ts";

export const FORM = "application/x-www-form-urlencoded";
export const JSON_TYPE = "application/json";
export const ADMIN = { authorization: "Bearer admin-key" };

/** What a token is made of; the rest is what the authority would have written. */
export interface Minted extends Partial<Omit<Claims, "id">> {
  readonly format?: "cwt" | "jwt";
  readonly signer?: Signer;
  /** Whether it is on record; default true. */
  readonly isRecorded?: boolean;
}

/** Project `plant` as elsewhere, and the http api `web` on which `plant.board` may read and write. */
export interface IntrospectFixture extends Fixture {
  readonly pi: Device;
  /** Of the client `plant.board`. */
  readonly secret: string;
  /** Headers with the own credential of an api. */
  as(api: string): Record<string, string>;
  /** The text of a token of `plant.board` for `plant.web`, unless told otherwise. */
  mint(parts?: Minted): string;
}

export async function openIntrospectFixture(): Promise<IntrospectFixture> {
  const at = await openFixture();
  const { registry, clock } = at;
  const { secret } = furnish(registry);
  createApi(registry, { project: "plant", name: "web", kind: "http", scopes: ["read", "write"], bearer: true });
  // a name that is refused by now, since it reads as a list of grants
  const scopes = JSON.stringify(["read", "write", "W10"]);
  registry.db.prepare("UPDATE api SET scopes = ? WHERE project = 'plant' AND name = 'web'").run(scopes);
  createRole(registry, { project: "plant", api: "web", name: "editor", scopes: ["read", "write", "W10"] });
  createRole(registry, { project: "plant", api: "web", name: "visitor", scopes: ["read"] });
  setClientRoles(registry, "plant.board", ["reader", "editor"]);
  const secrets = new Map(
    ["tele", "open", "web"].map((api) => [api, createSecret(registry, { project: "plant", api }).secret]),
  );
  return {
    ...at,
    secret,
    pi: await makeDevice(at, "plant.pi"),
    as: (api) => basic(`plant/${api}`, secrets.get(api) ?? "none"),
    mint({ format = "jwt", signer = activeSigner(registry), isRecorded = true, ...parts } = {}) {
      const now = clock.now;
      const id = nextTokenId(registry);
      const claims: Claims = {
        iss: ISSUER,
        sub: "plant.board",
        aud: "plant.web",
        exp: now + 600,
        iat: now,
        id,
        scope: "read write",
        ...parts,
      };
      const minted = format === "cwt" ? mintCwt(claims, signer) : mintJwt(claims, signer);
      const { sub: clientId, aud: audience, iat: issuedAt, exp, cnf } = claims;
      const keyThumbprint = cnf?.kind === "key" ? cnf.key.thumbprint : undefined;
      const row = {
        hashes: tokenHashes(minted),
        id,
        clientId,
        audience,
        issuedAt,
        exp,
        kid: signer.kid,
        keyThumbprint,
      };
      if (isRecorded) recordIssued(registry, row);
      return presentToken(toToken(minted));
    },
  };
}

/** A CWT of `plant.pi` for `plant.tele`. */
export const grants = ["pub:p/pi/up", "sub:p/all", "sub:p/pi/dn"].map(parsePermission);

export function json(answer: Answer): Record<string, unknown> {
  return JSON.parse(answer.body.toString()) as Record<string, unknown>;
}

/** All that a caller hears, but for the time. */
export function heard({ status, headers, body }: Answer): unknown {
  const { date: _date, ...rest } = headers;
  return [status, rest, body.toString("hex")];
}

export { ACE };
