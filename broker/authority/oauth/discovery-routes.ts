/**
 * What anybody may know of the authority: its metadata (RFC 8414) and the keys that verify its tokens, as a JWK set (RFC
 * 7517) and as a COSE key set (RFC 9052, section 7) with the same kids.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { encode } from "../../../shared/cbor.ts";
import { toCoseKey, toJwk } from "../../../shared/cose-key.ts";
import { publishedKeys } from "../../registry/signing-keys.ts";
import { trlConstants } from "../../registry/trl-updates.ts";
import { tokenPaths, trlPath, type AuthorityContext } from "../context.ts";
import { answerKnown, toTag } from "../entity-tag.ts";
import { introspectionPaths } from "./introspect-route.ts";
import { revocationPath } from "./revoke-route.ts";

const metadataPath = "/.well-known/oauth-authorization-server";
const jwksPath = "/.well-known/jwks.json";
const coseKeysPath = "/.well-known/cose-keys";
const maxAgeSeconds = 300;
/** How a client proves itself, at every endpoint. */
const authMethods = ["tls_client_auth", "private_key_jwt", "client_secret_basic", "client_secret_post"];

/** Registers metadata and key sets. */
export function registerDiscoveryRoutes(scope: FastifyInstance, context: AuthorityContext): void {
  scope.get(metadataPath, (request, reply) => {
    send(request, reply, "application/json", Buffer.from(JSON.stringify(metadata(context))));
  });
  scope.get(jwksPath, (request, reply) => {
    const keys = publishedKeys(context.registry).map(({ kid, key }) => {
      return { ...toJwk(key), kid, use: "sig", alg: "ES256" };
    });
    send(request, reply, "application/jwk-set+json", Buffer.from(JSON.stringify({ keys })));
  });
  scope.get(coseKeysPath, (request, reply) => {
    const keys = publishedKeys(context.registry).map(({ kid, key }) => {
      return toCoseKey(key, { kid: Buffer.from(kid, "latin1"), alg: true, uncompressed: true });
    });
    send(request, reply, "application/cose-key-set", encode(keys));
  });
}

function metadata({ issuer }: AuthorityContext): Record<string, unknown> {
  return {
    issuer,
    token_endpoint: issuer + tokenPaths[0],
    revocation_endpoint: issuer + revocationPath,
    introspection_endpoint: issuer + introspectionPaths[0],
    trl_endpoint: issuer + trlPath,
    trl_hash: "sha-256",
    max_n: trlConstants.maxN,
    max_diff_batch: trlConstants.maxDiffBatch,
    jwks_uri: `${issuer}${jwksPath}`,
    cose_keys_uri: `${issuer}${coseKeysPath}`,
    grant_types_supported: ["client_credentials"],
    response_types_supported: [],
    token_endpoint_auth_methods_supported: authMethods,
    token_endpoint_auth_signing_alg_values_supported: ["ES256"],
    revocation_endpoint_auth_methods_supported: authMethods,
    revocation_endpoint_auth_signing_alg_values_supported: ["ES256"],
    introspection_endpoint_auth_methods_supported: authMethods,
    introspection_endpoint_auth_signing_alg_values_supported: ["ES256"],
    introspection_signing_alg_values_supported: ["ES256"],
    tls_client_certificate_bound_access_tokens: true,
    dpop_signing_alg_values_supported: ["ES256"],
    service_documentation: `${issuer}/docs`,
  };
}

/** Sends with an entity tag, or says that nothing has changed. */
function send(request: FastifyRequest, reply: FastifyReply, type: string, body: Uint8Array): void {
  void reply.header("cache-control", `public, max-age=${String(maxAgeSeconds)}`);
  if (!answerKnown(request, reply, toTag(body))) void reply.type(type).send(Buffer.from(body));
}
