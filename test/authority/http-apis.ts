/**
 * Project `shop` with apis of kind http, who may use them, and how they ask: shared by the tests of tokens for HTTP.
 *
 * `orders` takes bound tokens only, `open` takes bearer tokens, `tiny` gives CWTs; `tele` is of kind mqtt. Project `other` has
 * `orders` too.
 */
import { randomBytes } from "node:crypto";
import { createApi } from "../../broker/registry/apis.ts";
import { createClient } from "../../broker/registry/clients.ts";
import { createProject } from "../../broker/registry/projects.ts";
import { replaceKeys } from "../../broker/registry/public-keys.ts";
import type { Registry } from "../../broker/registry/registry.ts";
import { createRole } from "../../broker/registry/roles.ts";
import { toJwk } from "../../shared/cose-key.ts";
import { mintDpopProof, type DpopRequest } from "../../shared/dpop.ts";
import { createSigner, generatePrivateKey } from "../../shared/es256.ts";
import { parsePermission } from "../../shared/scope.ts";
import { verifyToken, type VerifiedToken } from "../../shared/token.ts";
import {
  ISSUER,
  JWT_BEARER,
  jwtAssertion,
  makeKey,
  type Answer,
  type Call,
  type Device,
  type Fixture,
} from "./fixture.ts";

export const FORM = "application/x-www-form-urlencoded";

/** The service `web` has a secret and a key, and may `read` and `write` on `orders` and `open`; `list` on `tiny`. */
export interface Shop {
  readonly secret: string;
  /** The service with its registered key. */
  readonly web: Pick<Device, "id" | "privateKey" | "key">;
}

export function furnishShop(registry: Registry): Shop {
  createProject(registry, "shop");
  createProject(registry, "other");
  const scopes = ["read", "write", "admin"];
  createApi(registry, { project: "shop", name: "orders", kind: "http", scopes, ttlSeconds: 300 });
  createApi(registry, { project: "shop", name: "open", kind: "http", scopes, bearer: true });
  createApi(registry, { project: "shop", name: "tiny", kind: "http", scopes: ["list"], format: "cwt", bearer: true });
  createApi(registry, { project: "shop", name: "tele", kind: "mqtt", topics: ["t/#"], bearer: true });
  createApi(registry, { project: "other", name: "orders", kind: "http", scopes, bearer: true });
  const project = "shop";
  for (const api of ["orders", "open"]) {
    createRole(registry, { project, name: `${api}-reader`, api, scopes: ["read"] });
    createRole(registry, { project, name: `${api}-writer`, api, scopes: ["write", "read"] });
  }
  createRole(registry, { project, name: "lister", api: "tiny", scopes: ["list"] });
  createRole(registry, { project, name: "teller", api: "tele", permissions: [parsePermission("pub:t/x")] });
  const roles = ["orders-reader", "orders-writer", "open-reader", "open-writer", "lister", "teller"];
  const { secret } = createClient(registry, { project, name: "web", kind: "service", roles });
  createClient(registry, { project, name: "till", kind: "device", roles: ["orders-reader"] });
  const web = makeKey();
  replaceKeys(registry, { project, client: "web" }, [toJwk(web.key)]);
  return { secret: secret!, web: { id: "shop.web", ...web } };
}

export function verifyAt({ trust, clock }: Fixture, token: unknown, audience: string): VerifiedToken {
  return verifyToken(String(token), {
    issuer: ISSUER,
    keyFor: (kid) => trust.keyFor(kid),
    isAudience: (name) => name === audience,
    nowSeconds: clock.now,
  });
}

export function toForm(fields: Readonly<Record<string, string>>): string {
  return new URLSearchParams(fields).toString();
}

export function formCall(fields: Readonly<Record<string, string>>, headers?: Record<string, string>): Call {
  return { type: FORM, body: toForm({ grant_type: "client_credentials", ...fields }), headers };
}

export function jsonCall(value: object, headers?: Record<string, string>, as?: Device): Call {
  return { type: "application/json", body: JSON.stringify(value), headers, as };
}

export function readJson(answer: Answer): Record<string, unknown> {
  return JSON.parse(answer.body.toString()) as Record<string, unknown>;
}

/** The parameters of `private_key_jwt`. */
export function assertionFields(who: Pick<Device, "id" | "privateKey">, now: number): Record<string, string> {
  return { client_assertion: jwtAssertion(who as Device, now), client_assertion_type: JWT_BEARER };
}

/** Makes DPoP proofs for the token endpoint with one key. */
export function openProver(clock: { readonly now: number }) {
  const signer = createSigner("", generatePrivateKey());
  return {
    signer,
    prove: (changed: Partial<DpopRequest & { readonly id: Uint8Array }> = {}): string =>
      mintDpopProof(
        { method: "POST", url: `${ISSUER}/token`, nowSeconds: clock.now, id: randomBytes(12), ...changed },
        signer,
      ),
  };
}
