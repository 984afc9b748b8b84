/** The JSON of `/v1` that is about the credentials of clients and apis: their secrets and their public keys. */
import { z } from "zod";
import { jwkThumbprint, toJwk } from "../../../shared/cose-key.ts";
import { MAX_KEYS, type PublicKeyRecord } from "../../registry/public-keys.ts";
import { secretIdle, secretTtl, type SecretRecord } from "../../registry/secrets.ts";
import { reference } from "./registry-fields.ts";

const seconds = z.int().min(0);

/** JWKs, which are read where they are kept; members that are not known are allowed (RFC 7517, section 4). */
export const jwks = z
  .array(z.looseObject({ kty: reference(16) }))
  .max(MAX_KEYS)
  .meta({ description: "public keys as JWKs: EC, P-256, for ES256" });

const secretMembers = {
  id: z.string(),
  created_at: seconds,
  expires_at: seconds.nullable().meta({ description: "null: it has no end of its own" }),
  idle_seconds: seconds.meta({ description: "unused for so long beside a newer one it retires" }),
  last_used_at: seconds.nullable().meta({ description: "to the minute; null: never" }),
  status: z.enum(["valid", "expired", "retired"]),
};

/** What may be sent. */
export const sentOfCredentials = {
  NewSecret: z.strictObject({
    ttl_seconds: z.int().min(secretTtl.min).max(secretTtl.max).optional().meta({ description: "no end unless set" }),
    idle_seconds: z
      .int()
      .min(secretIdle.min)
      .max(secretIdle.max)
      .optional()
      .meta({ description: `unused for so long beside a newer one it retires; ${secretIdle.default} unless set` }),
  }),
  PublicKeys: z.strictObject({ keys: jwks }),
};

/** What is answered. */
export const answeredOfCredentials = {
  Secret: z.object(secretMembers),
  IssuedSecret: z.object({ ...secretMembers, secret: z.string().meta({ description: "in this answer alone" }) }),
  PublicKey: z.object({
    kid: z.string().nullable(),
    thumbprint: z.string().meta({ description: "RFC 7638, SHA-256" }),
    created_at: seconds,
    jwk: z.object({ kty: z.literal("EC"), crv: z.literal("P-256"), x: z.string(), y: z.string() }),
  }),
};

type Answered<K extends keyof typeof answeredOfCredentials> = z.output<(typeof answeredOfCredentials)[K]>;

/** A secret as `/v1` shows it, without the secret. */
export function toSecret(record: SecretRecord): Answered<"Secret"> {
  const { id, createdAt, expiresAt, idleSeconds, lastUsedAt, status } = record;
  return {
    id,
    created_at: createdAt,
    expires_at: expiresAt,
    idle_seconds: idleSeconds,
    last_used_at: lastUsedAt,
    status,
  };
}

/** A key as `/v1` shows it. */
export function toPublicKey({ key, kid, createdAt }: PublicKeyRecord): Answered<"PublicKey"> {
  return { kid, thumbprint: jwkThumbprint(key), created_at: createdAt, jwk: toJwk(key) };
}
